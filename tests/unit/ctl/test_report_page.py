"""Reports as tables and as a page: every number that was answered, and none that was not."""

from __future__ import annotations

import re
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from quantum.analytics.v1 import report_pb2 as pb
from rich.console import Console

from services.ctl.commands.report import parse_window
from services.ctl.report_page import page
from services.ctl.supervisor.home import Refused
from services.ctl.terminal import report_tables
from services.trade.codec import time_to_pb

MAY = 1_746_057_600_000
HOUR = 3_600_000


def sample() -> pb.GetReportResponse:
    """A report of one day with everything in it."""
    group = pb.ReportGroup(
        name="BTC<b>USDT",
        trades=4,
        wins=3,
        gross_pnl="21.5",
        commission="1.25",
        funding="-0.25",
        net_pnl="20",
        win_rate=0.75,
        win_rate_low=0.3006,
        win_rate_high=0.9544,
        profit_factor=2.5,
        average_r=0.4,
        slippage_usd="0.8",
        slippage_bp=1.5,
        adverse_usd="3.1",
        favourable_usd="7.9",
        holding_seconds=3725,
        in_sample=True,
    )
    equity = [
        pb.EquityPoint(time=time_to_pb(MAY + n * HOUR), equity=e, low=e, high=e)
        for n, e in enumerate(["1000", "1010", "909", "1020"], 1)
    ]
    return pb.GetReportResponse(
        since=time_to_pb(MAY),
        until=time_to_pb(MAY + 24 * HOUR),
        flows=pb.ReportFlows(
            gross_pnl="21.5", commission="1.25", funding="-0.25", net_pnl="20", fills=8
        ),
        total=group,
        by_symbol=[group],
        by_model=[group],
        measures=pb.EquityMeasures(max_drawdown_usd="101", max_drawdown=0.1, days=1),
        equity=equity,
        trades=[pb.ReportTrade(symbol="BTCUSDT", side="SHORT", net_pnl="-3.5")],
        checks_made=24,
        checks=[
            pb.LedgerCheck(account="main", wallet_change="1", booked="0", difference="1"),
        ],
        services=[pb.ServiceHistory(service="ai-service", status="HEALTHY", changes=2)],
        alerts=[pb.AlertCount(type="MARGIN", severity="HIGH", count=1)],
        predictions=[pb.PredictionCount(model_version="m1", action="HOLD", predictions=1440)],
    )


def shown(found: pb.GetReportResponse) -> str:
    """The tables as text."""
    console = Console(record=True, width=220, force_terminal=False)
    with console.capture() as captured:
        console.print(report_tables.report(found))
    return captured.get()


class Balance(HTMLParser):
    """Checks that every opened element is closed in its place, and nothing is loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "img", "iframe")
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_stands_alone_and_escapes_what_it_shows() -> None:
    text = page(sample())
    checker = Balance()
    checker.feed(text.removeprefix("<!doctype html>"))
    assert "BTC<b>" not in text
    assert "BTC&lt;b&gt;USDT" in text
    assert re.findall(r"https?://(?!www\.w3\.org)", text) == []
    for part in ("20.00", "75%", "30% to 95%", "1:02:05", "Ledger and wallet differ", "MARGIN"):
        assert part in text
    assert "trained on" in text
    assert text.count("<svg") >= 4


def test_what_the_data_do_not_give_is_no_zero() -> None:
    """Incident 85: an empty span shows no win rate, no factor and no ratio."""
    empty = pb.GetReportResponse(since=time_to_pb(MAY), until=time_to_pb(MAY + 1000))
    assert "No trade closed" in page(empty)
    text = shown(empty)
    assert "sharpe -" in text
    assert "not compared" in text
    assert "0%" not in text.replace("(0.00%)", "")


def test_the_tables_say_whether_the_books_agree() -> None:
    differing = shown(sample())
    assert "NOT equal" in differing
    assert "net 20 USD by 8 fills" in differing
    agreed = sample()
    del agreed.checks[:]
    assert "equal to the cent, compared 24 times" in shown(agreed)


def test_models_show_what_they_said_and_what_came_of_it() -> None:
    console = Console(width=200)
    found = sample()
    with console.capture() as captured:
        console.print(report_tables.models(found.by_model, found.predictions, "models"))
    rows = captured.get().splitlines()
    assert any("m1" in row and "1440" in row for row in rows)
    assert any("BTC<b>USDT" in row and "75%" in row for row in rows)


@pytest.mark.parametrize(
    ("text", "length"),
    [("1d", timedelta(days=1)), ("36h", timedelta(hours=36)), ("2w", timedelta(14))],
)
def test_a_window_is_a_number_and_a_unit(text: str, length: timedelta) -> None:
    assert parse_window(text) == length


@pytest.mark.parametrize("text", ["", "d", "0d", "1", "1y", "-1d", "1d1h"])
def test_a_window_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        parse_window(text)
