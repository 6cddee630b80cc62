"""`qt policy`: what is asked of the gateway."""

from __future__ import annotations

import pytest
from quantum.analytics.v1 import policy_pb2 as pb

from services.ctl.commands.policy import parsed
from services.ctl.supervisor.home import Refused


def test_pairs_are_read_as_the_contract_has_them() -> None:
    found = parsed(
        [
            "fund_mode=safe",
            "signal_share=0.02",
            "size_factor=0.5",
            "max_positions=0",
            "blocked_symbols=BTCUSDT, ETHUSDT",
            "model_weights=lightgbm:0.5,xgboost:0.5",
            "hfos_enabled=false",
        ]
    )
    assert found == pb.PolicyChange(
        fund_mode=pb.FUND_MODE_SAFE,
        signal_share=0.02,
        size_factor="0.5",
        max_positions=0,
        blocked_symbols=pb.SymbolSet(symbols=["BTCUSDT", "ETHUSDT"]),
        model_weights=pb.ModelWeights(weights={"lightgbm": 0.5, "xgboost": 0.5}),
        hfos_enabled=False,
    )
    assert parsed(["blocked_symbols="]).HasField("blocked_symbols")


@pytest.mark.parametrize(
    "change",
    [
        "max_positions",
        "version=3",
        "fund_mode=WILD",
        "max_positions=many",
        "model_weights=a",
        "pal_enabled=maybe",
    ],
)
def test_what_cannot_be_meant_is_refused(change: str) -> None:
    with pytest.raises(Refused):
        parsed([change])


def test_a_key_given_twice_is_refused() -> None:
    with pytest.raises(Refused, match="twice"):
        parsed(["max_positions=1", "max_positions=2"])
