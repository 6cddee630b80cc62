"""Trace context: read defensively, written as W3C says, carried by whoever does something."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.catalog.subjects import HEADER_TRACE
from services.kit.observe.trace_context import (
    TraceContext,
    context_of,
    current,
    exemplar,
    in_trace,
    outgoing_headers,
    parse,
    sampled_context_of,
    span_id_of,
    traceparent,
    within,
)

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEX = re.compile(r"[0-9a-f]+")


@pytest.mark.parametrize("sampled", [True, False])
def test_what_is_written_is_read_again(sampled: bool) -> None:
    place = TraceContext(TRACE, SPAN, sampled)
    assert parse(place.header()) == place
    assert context_of({HEADER_TRACE: traceparent(TRACE, SPAN, sampled=sampled)}) == place


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-0g",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\x00",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00_{TRACE}_{SPAN}_01",
    ],
)
def test_a_malformed_header_names_no_place(header: str) -> None:
    assert parse(header) is None
    assert sampled_context_of({HEADER_TRACE: header}) is None


def test_a_later_version_may_say_more() -> None:
    assert parse(f"01-{TRACE}-{SPAN}-03-more") == TraceContext(TRACE, SPAN, sampled=True)


@given(st.text(max_size=80))
def test_nothing_that_arrives_raises(header: str) -> None:
    found = parse(header)
    assert found is None or (HEX.fullmatch(found.trace_id) and HEX.fullmatch(found.span_id))


@given(st.integers(0, 255))
def test_only_the_last_bit_of_the_flags_counts(flags: int) -> None:
    found = parse(f"00-{TRACE}-{SPAN}-{flags:02x}")
    assert found is not None and found.sampled is bool(flags & 1)
    sampled = sampled_context_of({HEADER_TRACE: f"00-{TRACE}-{SPAN}-{flags:02x}"})
    assert (sampled is not None) is bool(flags & 1)


def test_a_child_is_in_the_same_trace_with_the_same_choice() -> None:
    child = TraceContext(TRACE, SPAN, sampled=True).child()
    assert (child.trace_id, child.sampled) == (TRACE, True)
    assert child.span_id != SPAN


def test_outside_of_every_trace_nothing_is_told() -> None:
    assert current() is None
    assert outgoing_headers() == {}
    assert exemplar() is None


def test_inside_of_one_calls_carry_it_and_afterwards_not() -> None:
    with within(TraceContext(TRACE, SPAN, sampled=True)):
        assert outgoing_headers() == {HEADER_TRACE: f"00-{TRACE}-{SPAN}-01"}
        assert exemplar() == {"trace_id": TRACE}
        with in_trace("ab" * 16):
            assert outgoing_headers() == {HEADER_TRACE: f"00-{'ab' * 16}-{'ab' * 8}-00"}
            assert exemplar() is None
            assert exemplar(written=True) == {"trace_id": "ab" * 16}
        assert outgoing_headers() == {HEADER_TRACE: f"00-{TRACE}-{SPAN}-01"}
    assert current() is None


def test_an_id_that_others_name_follows_from_its_parts_alone() -> None:
    assert span_id_of("send", "a", 1) == span_id_of("send", "a", 1)
    assert span_id_of("send", "ab") != span_id_of("send", "a", "b")
    assert re.fullmatch(r"[0-9a-f]{16}", span_id_of("x"))
