"""Messages of candles: what is written is read, and one that is none takes no other with it."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantum.market.v1 import market_pb2

from services.trade import codec
from services.trade.candle import Candle


def candle(symbol: str, minute: int = 1, price: str = "100.5") -> Candle:
    one = Decimal(price)
    return Candle("paper", symbol, "1m", minute * 60_000, one, one, one, one, Decimal(3))


@given(
    st.lists(
        st.builds(
            candle,
            st.sampled_from(["AUSDT", "BUSDT", "1000PEPEUSDT"]),
            st.integers(1, 10**6),
            st.decimals("0.00000001", 10**6, places=8).map(str),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_what_is_written_is_read(candles: list[Candle]) -> None:
    assert codec.candles_from_bytes(codec.candles_to_bytes(candles)) == codec.CandlesRead(
        candles, []
    )


@given(st.lists(st.booleans(), min_size=1, max_size=8))
def test_what_is_no_candle_is_named_and_the_others_stay(sound: list[bool]) -> None:
    """Incident 63: a bad candle among others."""
    batch = market_pb2.CandleBatch()
    for number, fine in enumerate(sound):
        told = codec.candle_to_pb(candle(f"S{number}USDT"))
        if not fine:
            told.low = "nan"
        batch.candles.append(told)
    read = codec.candles_from_bytes(batch.SerializeToString())
    assert [c.symbol for c in read.candles] == [f"S{n}USDT" for n, ok in enumerate(sound) if ok]
    assert len(read.refused) == sound.count(False)


@pytest.mark.parametrize("data", [b"", b"\xff\xfe nonsense"])
def test_a_message_of_something_else_is_an_error(data: bytes) -> None:
    with pytest.raises(codec.CodecError):
        codec.candles_from_bytes(data)
