"""A table never calls it best to have done nothing."""

from __future__ import annotations

from services.lab.training.figures import NONE, best, figure

IDLE = {"trades": 0.0, "net_bp": 0.0, "low_bp": 0.0, "total_bp": 0.0, "log_loss": 1.05}
LOSING = {"trades": 1248.0, "net_bp": -12.398, "low_bp": -15.9, "total_bp": -3074.8}
SCORES = {"log_loss": 1.04371, "accuracy": 0.42}


def test_what_no_trade_was_there_to_say_is_a_dash_and_never_the_best() -> None:
    assert [figure(c, IDLE) for c in IDLE] == ["0", NONE, NONE, NONE, "1.0500"]
    assert best("net_bp", [IDLE, LOSING]) == LOSING["net_bp"]
    assert best("net_bp", [IDLE]) is None
    assert best("trades", [IDLE, LOSING]) is None


def test_numbers_are_as_exact_as_they_mean_something() -> None:
    assert [figure(c, LOSING) for c in LOSING] == ["1,248", "-12.4", "-15.9", "-3,075"]
    assert figure("log_loss", SCORES) == "1.0437"
    assert best("log_loss", [SCORES, {"log_loss": 1.05}]) == SCORES["log_loss"]
    assert best("accuracy", [SCORES, {"accuracy": 0.41}]) == 0.42
