"""A home belongs to one supervisor and to one market."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from services.ctl.supervisor.home import Home, Refused, read_json, write_json
from services.ctl.supervisor.market import Market, claim


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.create()
    return home


def test_the_first_start_decides_the_market_and_the_next_ones_need_not_name_it(home: Home) -> None:
    assert claim(home, None, None) == Market("generated", 7)
    assert claim(home, None, None) == Market("generated", 7)
    assert claim(home, "generated", 7) == Market("generated", 7)


def test_another_market_or_seed_is_refused_with_what_to_do(home: Home, tmp_path: Path) -> None:
    (tmp_path / "BTCUSDT.csv.gz").touch()
    claim(home, "generated", 11)
    for source, seed in (("live", None), (str(tmp_path), None), ("generated", 12)):
        with pytest.raises(Refused, match=r"belongs to the market generated \(seed 11\).*--wipe"):
            claim(home, source, seed)
    assert claim(home, None, None) == Market("generated", 11)


def test_a_recorded_market_is_remembered_by_its_absolute_path(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "BTCUSDT.csv.gz").touch()
    monkeypatch.chdir(tmp_path.parent)
    assert claim(home, tmp_path.name, None).source == str(tmp_path)


@pytest.mark.parametrize("source", ["nowhere", "."])
def test_a_folder_that_cannot_be_a_market_is_refused(
    home: Home, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refused, match=r"^--market"):
        claim(home, source, None)
    assert home.remembered() == {}, "a refused market leaves no trace"


def test_a_home_has_one_supervisor_at_a_time(home: Home) -> None:
    with home.lock():
        assert home.supervised()
        with pytest.raises(Refused, match="already running"), home.lock():
            pytest.fail("two supervisors")
    assert not home.supervised()


def test_secrets_are_made_once_and_are_for_the_owner_only(home: Home) -> None:
    first = home.secrets()
    assert home.secrets() == first
    assert len(set(first.values())) == len(first)
    assert stat.S_IMODE((home.root / "secrets.json").stat().st_mode) == 0o600


def test_a_cut_off_file_counts_as_absent(tmp_path: Path) -> None:
    cut = tmp_path / "processes.json"
    cut.write_text('{"ai-1": {"pi')
    assert read_json(cut) == {}
    write_json(cut, {"a": 1})
    assert read_json(cut) == {"a": 1}
    assert list(tmp_path.iterdir()) == [cut]
