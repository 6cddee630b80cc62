"""Lines of logs: read in every program's own form, chosen, counted by cause, found in files."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from services.ctl.__main__ import app
from services.ctl.logbook.causes import by_cause, same
from services.ctl.logbook.chosen import BadTime, Wanted, when
from services.ctl.logbook.files import Follower, Logbook
from services.ctl.logbook.line import LEVELS, Line, lines, parse, service_of
from services.ctl.supervisor.home import Refused
from services.ctl.supervisor.rotation import rotate

NOW = datetime(2025, 11, 23, 12, 0, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
TRACE = "7662873be18e07567b6d4755232ba7a7"
_TIME_RANGE = (1_704_067_200_000_000, 1_798_761_600_000_000)
TIMES = st.integers(*_TIME_RANGE).map(lambda n: datetime(1970, 1, 1, tzinfo=UTC) + n * MICROSECOND)
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=1, max_size=40)


def structured(time: datetime, level: str, event: str, **fields: object) -> str:
    stamp = time.isoformat().replace("+00:00", "Z")
    return json.dumps({**fields, "event": event, "level": level, "timestamp": stamp})


@pytest.mark.parametrize(
    ("text", "time", "level", "event"),
    [
        (
            '{"grpc_port": 1, "event": "serving", "level": "info", "service": "ai-service",'
            ' "timestamp": "2026-11-23T02:58:11.484641Z"}',
            "2026-11-23T02:58:11.484641+00:00",
            "info",
            "serving",
        ),
        (
            "2026-11-23 02:57:56 [warning  ] bus_disconnected  reason='it closed'",
            "2026-11-23T02:57:56+00:00",
            "warning",
            "bus_disconnected",
        ),
        (
            "2026-11-23 02:58:11.905 UTC [3414] ai@quantum_trader FATAL:  no such role",
            "2026-11-23T02:58:11.905000+00:00",
            "critical",
            "no such role",
        ),
        (
            "2026-11-23 02:58:11.905 UTC [3414] LOG:  checkpoint starting: time",
            "2026-11-23T02:58:11.905000+00:00",
            "info",
            "checkpoint starting: time",
        ),
        (
            "[2719] 2026/11/23 02:57:52.526447 [WRN] Healthcheck failed",
            "2026-11-23T02:57:52.526447+00:00",
            "warning",
            "Healthcheck failed",
        ),
        (
            "[2026-11-23 03:41:50.323][2995][warning][main] [source/server/server.cc:1028] caught",
            "2026-11-23T03:41:50.323000+00:00",
            "warning",
            "caught",
        ),
        (
            "2026-11-23T02:57:52Z nats         ready  nats://127.0.0.1:27539",
            "2026-11-23T02:57:52+00:00",
            "info",
            "nats         ready  nats://127.0.0.1:27539",
        ),
        (
            '{"code":200,"event":"call","grpc":"UNAVAILABLE","time":"2026-11-23T03:41:49.585Z"}',
            "2026-11-23T03:41:49.585000+00:00",
            "error",
            "call",
        ),
        (
            '{"code":503,"event":"call","grpc":null,"time":"2026-11-23T03:41:49.585Z"}',
            "2026-11-23T03:41:49.585000+00:00",
            "error",
            "call",
        ),
    ],
)
def test_every_program_is_understood(text: str, time: str, level: str, event: str) -> None:
    found = parse("any", text)
    assert found is not None and found.time is not None
    assert (found.time.isoformat(), found.level, found.event) == (time, level, event)
    assert found.text == text


@given(st.lists(WORDS, max_size=20))
def test_no_line_is_lost_and_none_breaks_the_reader(texts: list[str]) -> None:
    assert [line.text for line in lines("ai-1", texts)] == texts


@given(TIMES, st.sampled_from(LEVELS), WORDS, WORDS)
def test_what_structlog_writes_is_read_back(
    time: datetime, level: str, event: str, error: str
) -> None:
    found = parse("ai-1", structured(time, level, event, error=error, trace_id=TRACE))
    assert found is not None
    assert (found.time, found.level, found.event, found.trace_id) == (time, level, event, TRACE)
    assert found.fields["error"] == error


def test_a_traceback_has_the_time_and_the_severity_of_the_line_above_it() -> None:
    first = "2026-11-23 02:57:56 [error    ] failed"
    found = list(lines("ai-1", ["before all", first, "  File x", "ValueError: no", "INFO: next"]))
    assert [line.level for line in found] == ["info", "error", "error", "error", "info"]
    assert [line.time for line in found[1:]] == [found[1].time] * 4
    assert found[0].time is None


@given(TIMES, st.integers(0, 400), st.sampled_from("smhdw"))
def test_a_span_is_so_long_before_now(now: datetime, count: int, unit: str) -> None:
    seconds = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}[unit]
    assert when(f"{count}{unit}", now) == now - timedelta(seconds=count * seconds)


@given(TIMES)
def test_a_time_is_itself_in_utc(time: datetime) -> None:
    assert when(time.isoformat(), NOW) == time
    assert when(time.replace(tzinfo=None).isoformat(), NOW) == time


@pytest.mark.parametrize("text", ["", "yesterday", "1", "h", "-1h", "1y", "99999999999w"])
def test_what_is_no_time_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(BadTime, match=f"^{re.escape(text)}: "):
        when(text, NOW)


LINES = st.builds(
    Line,
    st.sampled_from(["ai-1", "ai-2", "exec_risk", "gateway"]),
    st.none() | TIMES,
    st.sampled_from(LEVELS),
    st.sampled_from(["order_refused", "bus_disconnected", "call"]),
    WORDS,
    st.fixed_dictionaries({}, optional={"error": WORDS, "trace_id": st.just(TRACE)}),
)


@given(st.lists(LINES), st.none() | TIMES, st.none() | TIMES, st.sampled_from(["", *LEVELS]))
def test_what_is_chosen_is_exactly_what_was_asked_for(
    found: list[Line], since: datetime | None, until: datetime | None, level: str
) -> None:
    wanted = Wanted(since=since, until=until, level=level)
    for line in found:
        in_time = (since is None or (line.time is not None and line.time >= since)) and (
            until is None or (line.time is not None and line.time < until)
        )
        severe = not level or LEVELS.index(line.level) >= LEVELS.index(level)
        assert wanted.takes(line) == (in_time and severe)
    assert Wanted().everything and all(Wanted().takes(line) for line in found)


@given(LINES)
def test_a_trace_is_found_by_how_it_begins(line: Line) -> None:
    assert Wanted(trace=TRACE[:8].upper()).takes(line) == (line.trace_id == TRACE)


@given(st.lists(LINES), st.sampled_from(LEVELS))
def test_causes_count_every_line_that_is_severe_enough_once(found: list[Line], least: str) -> None:
    severe = [line for line in found if LEVELS.index(line.level) >= LEVELS.index(least)]
    causes = by_cause(found, least)
    assert sum(cause.count for cause in causes) == len(severe)
    assert [c.count for c in causes] == sorted((c.count for c in causes), reverse=True)
    assert len({(c.service, c.cause) for c in causes}) == len(causes)
    for cause in causes:
        assert {service_of(p) for p in cause.processes} == {cause.service}
        assert cause.first is None or cause.last is None or cause.first <= cause.last


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_numbers_do_not_make_another_cause(one: int, other: int) -> None:
    assert same(f"order {one} refused in v1 after {one}.5 s") == same(
        f"order {other} refused in v1 after {other}.25 s"
    )
    assert same(f"no market of type {one}") != same(f"no account of type {one}")


def test_a_cause_is_the_last_line_of_the_traceback() -> None:
    trouble = "Traceback (most recent call last):\n  File x\nValueError: no price of BTCUSDT"
    line = parse("ai-1", structured(NOW, "error", "core_exception", exception=trouble))
    assert line is not None
    [cause] = by_cause([line])
    assert cause.cause == "core_exception: ValueError: no price of BTCUSDT"


@pytest.mark.parametrize(
    ("process", "service"),
    [
        ("ai-1", "ai"),
        ("ai-1.sidecar", "ai.sidecar"),
        ("exec_risk", "exec_risk"),
        ("analytics-migrate", "analytics-migrate"),
    ],
)
def test_a_replica_belongs_to_its_service(process: str, service: str) -> None:
    assert service_of(process) == service


def write(folder: Path, process: str, times: list[int], level: str = "info") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{process}.log").open("a") as log:
        for second in times:
            time = NOW + timedelta(seconds=second)
            log.write(structured(time, level, "said", number=second) + "\n")


@given(
    st.dictionaries(
        st.sampled_from(["ai-1", "ai-2", "nats"]), st.lists(st.integers(0, 99)), min_size=1
    )
)
def test_logs_are_read_by_time_and_none_twice(
    tmp_path_factory: pytest.TempPathFactory, said: dict[str, list[int]]
) -> None:
    folder = tmp_path_factory.mktemp("logs")
    for process, seconds in said.items():
        write(folder, process, sorted(seconds))
    found = list(Logbook(folder).read())
    assert [line.time for line in found] == sorted(line.time for line in found if line.time)
    assert len(found) == sum(map(len, said.values()))


def test_rotated_files_are_read_and_followed(tmp_path: Path) -> None:
    """What is written between two looks and then rotated away is shown all the same."""
    book = Logbook(tmp_path)
    write(tmp_path, "ai-1", [1, 2])
    follower = Follower(book)
    assert follower.fresh() == []
    write(tmp_path, "ai-1", [3])
    assert [line.fields["number"] for line in follower.fresh()] == [3]
    write(tmp_path, "ai-1", [4])
    rotate(tmp_path, largest=1)
    write(tmp_path, "ai-1", [5])
    write(tmp_path, "new", [6])
    assert [line.fields["number"] for line in follower.fresh()] == [4, 5, 6]
    assert [line.fields["number"] for line in book.read()] == [1, 2, 3, 4, 5, 6]
    assert [line.fields["number"] for line in book.last(3)] == [3, 4, 5, 6]


def test_half_a_line_is_not_followed_before_it_is_whole(tmp_path: Path) -> None:
    write(tmp_path, "ai-1", [1])
    follower = Follower(Logbook(tmp_path))
    with (tmp_path / "ai-1.log").open("a") as log:
        log.write('{"half')
    assert follower.fresh() == []
    with (tmp_path / "ai-1.log").open("a") as log:
        log.write(' of it"}\n')
    assert [line.text for line in follower.fresh()] == ['{"half of it"}']


def test_the_command_counts_chooses_and_exports(tmp_path: Path) -> None:
    write(tmp_path / "logs", "ai-1", [1, 2, 3])
    write(tmp_path / "logs", "ai-2", [2], level="error")
    write(tmp_path / "logs", "exec_risk", [4], level="error")

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["logs", *arguments, f"--home={tmp_path}"])
        assert done.exit_code == 0, done.output
        return done.stdout

    counted = json.loads(run("--errors", "--json"))
    assert [(c["service"], c["count"]) for c in counted] == [("ai", 1), ("exec_risk", 1)]
    chosen = json.loads(run("ai-service", "--since=2025-11-23T12:00:02", "--json"))
    assert [(c["process"], c["fields"]["number"]) for c in chosen] == [
        ("ai-1", 2),
        ("ai-2", 2),
        ("ai-1", 3),
    ]
    assert len(run("ai", "exec_risk", "--tail=1").splitlines()) == 3
    assert "2025-11-23 12:00:04.000 error    said number=4" in run("exec_risk")
    out = tmp_path / "out.log"
    assert json.loads(run("--level=error", f"--export={out}", "--json"))["lines"] == 2
    assert len(out.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["venue"], "no log of venue in .*: ai-1"),
        (["--since=soon"], "soon: say a span"),
        (["--level=loud"], "--level loud: say one of"),
        (["--grep=("], "--grep \\(: "),
        (["--errors", "--follow"], "--errors counts a span"),
    ],
)
def test_what_cannot_be_shown_is_one_line(tmp_path: Path, arguments: list[str], line: str) -> None:
    write(tmp_path / "logs", "ai-1", [1])
    done = CliRunner().invoke(app, ["logs", *arguments, f"--home={tmp_path}"])
    assert isinstance(done.exception, Refused)
    assert re.search(line, str(done.exception))
