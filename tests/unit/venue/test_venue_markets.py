"""Markets: generated, recorded, and the steps made of them."""

from __future__ import annotations

import gzip
import os
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from services.trade.times import MINUTE_MS
from services.venue.core.rules import VenueRules
from services.venue.markets.feed import ReplayFeed, pack_moment, unpack_moment
from services.venue.markets.generated import START, GeneratedMarket
from services.venue.markets.listing import default_brackets
from services.venue.markets.recorded import RecordedMarket, RecordingError

DATA = Path(os.environ.get("QUANTUM_DATA", str(Path(__file__).parents[4] / "shared" / "data")))
HEADER = "symbol,timeframe,open_time_ms,open,high,low,close,volume"
EIGHT_HOURS = 8 * 60 * MINUTE_MS


def write(folder: Path, symbol: str, first: int, closes: list[str]) -> None:
    """Write a recording of candles without a range."""
    rows = [HEADER]
    for number, close in enumerate(closes):
        rows.append(
            f"{symbol},1m,{first + number * MINUTE_MS},{close},{close},{close},{close},7.25"
        )
    with gzip.open(folder / f"{symbol}_1m.csv.gz", "wt") as file:
        file.write("\n".join(rows) + "\n")


def test_generated_candle_does_not_depend_on_what_was_asked_before() -> None:
    one, two = GeneratedMarket(5), GeneratedMarket(5)
    far = START + 40 * 1440 * MINUTE_MS
    for number in range(0, 3000, 250):
        one.round(number)
    for symbol in one.symbols:
        assert one.candle(symbol, far) == two.candle(symbol, far)
    assert GeneratedMarket(6).candle("BTCUSDT", far) != one.candle("BTCUSDT", far)


def test_generated_market_has_history_and_no_seam_between_days() -> None:
    market = GeneratedMarket(5)
    for symbol, rules in market.symbols.items():
        assert market.candle(symbol, market.history_from(symbol)) is not None
        for day in (0, 1, 2):
            last = market.candle(symbol, START + day * 1440 * MINUTE_MS - MINUTE_MS)
            first = market.candle(symbol, START + day * 1440 * MINUTE_MS)
            assert last is not None and first is not None
            assert abs(first.open - last.close) <= rules.filters.tick_size


def test_generated_market_looks_like_a_market() -> None:
    """Correlated, fat tails, clustered volatility."""
    import numpy as np

    market = GeneratedMarket(5)
    closes = {
        symbol: np.log(
            [
                float(candle.close)
                for number in range(2880)
                if (candle := market.candle(symbol, START + number * MINUTE_MS))
            ]
        )
        for symbol in ("BTCUSDT", "ETHUSDT", "XRPUSDT")
    }
    returns = {symbol: np.diff(path) for symbol, path in closes.items()}
    assert np.corrcoef(returns["BTCUSDT"], returns["ETHUSDT"])[0, 1] > 0.5
    for path in returns.values():
        size = np.abs(path)
        assert np.corrcoef(size[1:], size[:-1])[0, 1] > 0.1
        assert np.mean((path / path.std()) ** 4) > 4


def test_steps_are_the_path_of_the_candles_and_only_the_open_is_a_jump() -> None:
    market = GeneratedMarket(5)
    feed = ReplayFeed(market, EIGHT_HOURS)
    round_ = market.round(3)
    assert round_ is not None
    for place in range(4):
        moment = feed.at(3 * 4 + place + 1)
        assert moment is not None
        step = moment.step
        assert step.time == START + 3 * MINUTE_MS + place * 20_000
        for point in step.points:
            assert point.price == round_[point.symbol].path()[place][1]
            assert point.continuous is (place > 0)
        assert [c.symbol for c in step.closed] == (sorted(round_) if place == 3 else [])


def test_funding_falls_due_at_the_close_of_every_eighth_hour() -> None:
    feed = ReplayFeed(GeneratedMarket(5), EIGHT_HOURS)
    last = 480 * 4
    due = [number for number in range(1, last + 3) if (m := feed.at(number)) and m.funding]
    assert due == [last]
    moment = feed.at(last)
    assert moment is not None and len(moment.funding) == 8
    assert unpack_moment(pack_moment(moment)) == moment


def test_recording_begins_after_its_history_and_ends(tmp_path: Path) -> None:
    write(tmp_path, "BTCUSDT", 0, ["100.5"] * 503)
    market = RecordedMarket(tmp_path)
    assert market.start == 500 * MINUTE_MS
    assert market.symbols["BTCUSDT"].filters.tick_size == Decimal("0.1")
    assert market.symbols["BTCUSDT"].filters.step_size == Decimal("0.01")
    assert market.round(2) and not market.round(3)
    feed = ReplayFeed(market, EIGHT_HOURS)
    assert not feed.ends_with(11) and feed.ends_with(12)
    assert feed.at(12) is not None and feed.at(13) is None


def test_symbol_that_starts_later_joins_later(tmp_path: Path) -> None:
    write(tmp_path, "BTCUSDT", 0, ["100"] * 2600)
    write(tmp_path, "NEWUSDT", 1500 * MINUTE_MS, ["2.125"] * 600)
    market = RecordedMarket(tmp_path)
    assert market.start == 500 * MINUTE_MS
    assert market.trades_from("NEWUSDT") == 2000 * MINUTE_MS
    before, after = market.round(1499), market.round(1500)
    assert before and set(before) == {"BTCUSDT"}
    assert after and set(after) == {"BTCUSDT", "NEWUSDT"}


@pytest.mark.parametrize("closes", [[], ["1"] * 400])
def test_recording_that_is_too_short_is_refused(tmp_path: Path, closes: list[str]) -> None:
    write(tmp_path, "BTCUSDT", 0, closes)
    with pytest.raises(RecordingError):
        RecordedMarket(tmp_path)


def test_recording_with_a_hole_is_refused(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "BTCUSDT_1m.csv.gz", "wt") as file:
        file.write(f"{HEADER}\nBTCUSDT,1m,0,1,1,1,1,1\nBTCUSDT,1m,120000,1,1,1,1,1\n")
    with pytest.raises(RecordingError, match="missing"):
        RecordedMarket(tmp_path)


def test_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"no .*files"):
        RecordedMarket(tmp_path)


def test_real_recording_is_exact() -> None:
    folder = DATA / "perp-5m-2025-03"
    if not folder.is_dir():
        pytest.skip(f"no recorded data at {folder}; set QUANTUM_DATA")
    market = RecordedMarket(folder)
    assert market.timeframe == "5m"
    path = folder / "BTCUSDT_5m.csv.gz"
    with gzip.open(path, "rt") as file:
        lines = file.read().splitlines()[1:]
    for line in lines[:: max(1, len(lines) // 300)]:
        symbol, _, open_time, *values = line.split(",")
        candle = market.candle(symbol, int(open_time))
        assert candle is not None
        shown = (candle.open, candle.high, candle.low, candle.close, candle.volume)
        assert shown == tuple(map(Decimal, values))
    assert market.symbols["BTCUSDT"].max_leverage > 100


def test_default_brackets_make_the_margin_continuous() -> None:
    brackets = default_brackets("XRPUSDT")
    for low, high in pairwise(brackets):
        below = low.cap * low.maintenance_ratio - low.cumulative
        assert below == low.cap * high.maintenance_ratio - high.cumulative


def test_default_rules_charge_binances_fees() -> None:
    assert (VenueRules().maker_fee, VenueRules().taker_fee) == (
        Decimal("0.0002"),
        Decimal("0.0005"),
    )
