"""The same market trades the same way: what happens is a function of the market, not of the run."""

from __future__ import annotations

import pytest

from tests.support import books
from tests.support.folders import server_folder
from tests.support.stack import Stack

TRADES = 15


async def trade(*, disturbed: bool) -> books.Books:
    """Trade the generated market in a home of its own and read the books."""
    with server_folder() as root, Stack(root).running() as stack:
        await stack.until_closed(3, 120)
        if disturbed:
            stack.kill("ai-1")
            stack.kill("exec_risk")
        await stack.until_closed(TRADES, 180)
        return await books.read(stack)


@pytest.mark.timeout(500)
async def test_two_runs_one_of_them_disturbed_have_the_same_fills() -> None:
    """Same trade ids, prices, quantities, commissions and market times, to the last digit."""
    calm, disturbed = await trade(disturbed=False), await trade(disturbed=True)
    until = min(calm.until, disturbed.until)

    def before(book: books.FillBook) -> books.FillBook:
        return {key: fill for key, fill in book.items() if fill[3] < until}

    assert len(before(calm.venue)) >= 2 * TRADES - 10
    assert before(disturbed.venue) == before(calm.venue)
