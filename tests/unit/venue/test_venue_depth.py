"""The book around the last price: sorted, on the grid, and the same for everybody."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from services.venue.core.depth import DEEPEST, best_prices, ladder
from services.venue.core.rules import VenueRules
from services.venue.markets.listing import symbol_rules

FILTERS = symbol_rules("BTCUSDT", tick=Decimal("0.1"), step=Decimal("0.001")).filters
RULES = VenueRules()


@given(st.integers(1, 10_000_000), st.integers(0, 10_000), st.integers(1, 60))
def test_a_book_is_sorted_on_the_grid_and_around_the_price(
    ticks: int, number: int, levels: int
) -> None:
    mark = ticks * FILTERS.tick_size
    named = {"symbol": "BTCUSDT", "seed": 7, "number": number, "mark": mark}
    book = ladder(RULES, FILTERS, levels=levels, **named)  # type: ignore[arg-type]
    bids, asks = [p for p, _ in book.bids], [p for p, _ in book.asks]
    assert bids == sorted(set(bids), reverse=True)
    assert asks == sorted(set(asks))
    assert len(asks) == min(levels, DEEPEST)
    assert (bids[0], asks[0]) == best_prices(RULES, FILTERS, mark)
    assert bids[0] <= mark <= asks[0] and bids[0] < asks[0]
    for price, size in (*book.bids, *book.asks):
        assert price > 0 and not price % FILTERS.tick_size
        assert size > 0 and not size % FILTERS.step_size
    shallow = ladder(RULES, FILTERS, levels=1, **named)  # type: ignore[arg-type]
    assert shallow.bids == book.bids[:1]


def test_the_seed_and_the_step_make_the_book() -> None:
    def of(seed: int, number: int) -> object:
        return ladder(
            RULES,
            FILTERS,
            symbol="BTCUSDT",
            seed=seed,
            number=number,
            mark=Decimal(50_000),
            levels=5,
        )

    assert of(7, 1) == of(7, 1)
    assert of(7, 1) != of(8, 1)
    assert of(7, 1) != of(7, 2)
