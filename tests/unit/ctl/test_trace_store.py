"""The embedded trace store: bounded, found again by id, order and failure, shown as a tree."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from rich.console import Console

from services.ctl.terminal import trace_tree
from services.ctl.traces.span import Span, spans_of
from services.ctl.traces.store import KEEP_NS, SpanStore
from services.ctl.traces.tree import as_value, grow

NOW = 1_800_000_000 * 10**9
A, B = "a" * 32, "b" * 32


def span(number: int, parent: int = 0, trace: str = A, **changes: Any) -> Span:
    values: dict[str, Any] = {
        "trace_id": trace,
        "span_id": f"{number:016x}",
        "parent_id": f"{parent:016x}" if parent else "",
        "name": f"step {number}",
        "service": "ai-service",
        "instance": "ai-1",
        "kind": "internal",
        "start": NOW + number,
        "end": NOW + number + 10,
        "failed": False,
    }
    return Span(**values | changes)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SpanStore]:
    opened = SpanStore.open(tmp_path / "traces" / "spans.sqlite")
    yield opened
    opened.close()


def test_what_was_put_is_read_by_another_process_in_the_order_of_its_start(
    store: SpanStore, tmp_path: Path
) -> None:
    first, second = span(1, attributes={"quantum.rows": 8, "share": 0.5}), span(2, 1)
    store.put([second, first])
    reader = SpanStore.read(tmp_path / "traces" / "spans.sqlite")
    assert reader.trace(A) == [first, second]
    reader.close()


def test_a_span_that_comes_again_stays_as_it_was(store: SpanStore) -> None:
    store.put([span(1)])
    store.put([span(1, name="other")])
    assert [s.name for s in store.trace(A)] == ["step 1"]


def test_a_store_that_was_never_written_is_not_made_by_reading(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        SpanStore.read(tmp_path / "none.sqlite")
    assert not (tmp_path / "none.sqlite").exists()


def test_spans_older_than_seven_days_are_forgotten_with_their_orders(store: SpanStore) -> None:
    order = {"quantum.client_order_id": "qte0-1"}
    store.put([span(1, attributes=order), span(2, trace=B, start=NOW + 50, end=NOW + 60)])
    assert store.trim(NOW + KEEP_NS + 50) == 1
    assert store.trace(A) == []
    assert store.of_order("qte0-1") is None
    assert len(store.trace(B)) == 1


def test_a_store_that_is_too_large_loses_its_oldest(store: SpanStore) -> None:
    store.put(span(n, attributes={"text": "x" * 500}) for n in range(1, 2001))
    forgotten = store.trim(NOW, most_bytes=300_000)
    left = store.trace(A)
    assert 0 < forgotten < 2000
    assert [s.span_id for s in left] == [f"{n:016x}" for n in range(forgotten + 1, 2001)]
    assert store.trim(NOW, most_bytes=300_000) == 0


def test_a_trace_is_found_by_prefix_by_order_and_as_the_last_order(store: SpanStore) -> None:
    placed = {"quantum.client_order_id": "qte0-1"}
    store.put(
        [
            span(1, name="place order", attributes=placed),
            span(2, trace=B, name="place order", attributes={"quantum.client_order_id": "qte0-2"}),
            span(3, name="apply fill", attributes=placed),
        ]
    )
    assert store.starting_with("aaaa") == [A]
    assert store.starting_with("cccc") == []
    assert (store.of_order("qte0-1"), store.of_order("qte0-9")) == (A, None)
    assert store.last_order() == B


def test_a_list_tells_what_failed(store: SpanStore) -> None:
    store.put([span(1), span(2, 1, service="venue"), span(5, trace=B, failed=True)])
    both, bad = store.list(10), store.list(10, failed=True)
    assert [(s.trace_id, s.spans, s.failed) for s in both] == [(B, 1, 1), (A, 2, 0)]
    assert [s.trace_id for s in bad] == [B]
    assert both[1].services == ("ai-service", "venue")
    assert both[1].root == "step 1"
    assert len(store.list(1)) == 1


def test_a_tree_hangs_each_span_below_its_parent() -> None:
    (root,) = grow([span(3, 1), span(1), span(2, 1), span(4, 3)])
    assert [b.span.name for b in root.below] == ["step 2", "step 3"]
    assert as_value(root, NOW)["spans"][1]["spans"][0]["name"] == "step 4"


def test_a_span_whose_parent_is_missing_is_shown_as_such() -> None:
    roots = grow([span(1), span(2, 9)])
    assert [(r.span.name, r.orphan) for r in roots] == [("step 1", False), ("step 2", True)]


@given(st.lists(st.integers(0, 12), min_size=1, max_size=12))
def test_every_span_stands_in_the_tree_once_whatever_the_parents(parents: list[int]) -> None:
    def names(branches: list[Any]) -> list[str]:
        return [n for b in branches for n in (b.span.name, *names(b.below))]

    spans = [span(number, parent) for number, parent in enumerate(parents, start=1)]
    assert sorted(names(grow(spans))) == sorted(s.name for s in spans)


def test_the_printed_tree_says_when_who_what_and_why_it_failed() -> None:
    spans = [
        span(1, start=NOW, end=NOW + 3 * 10**6),
        span(
            2,
            1,
            start=NOW + 10**6,
            end=NOW + 2 * 10**6,
            failed=True,
            status="-2019 Margin is insufficient",
            attributes={"quantum.client_order_id": "qte0-1", "http.response.status_code": 400},
        ),
    ]
    console = Console(width=200, record=True)
    console.print(trace_tree.tree(A, grow(spans)))
    text = console.export_text()
    assert "2 spans, 3.0 ms" in text
    assert "step 2  ai-service  +1.0 ms  1.0 ms  FAILED -2019 Margin is insufficient" in text
    assert "client_order_id=qte0-1 http=400" in text


def test_an_export_is_read_and_a_bad_id_left_out() -> None:
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    for key, value in (("service.name", "venue"), ("service.instance.id", "venue-1")):
        pair = group.resource.attributes.add(key=key)
        pair.value.string_value = value
    scope = group.scope_spans.add()
    good = scope.spans.add(trace_id=b"\xaa" * 16, span_id=b"\x01" * 8, name="GET /x", kind=2)
    good.start_time_unix_nano, good.end_time_unix_nano = 20, 10
    good.attributes.add(key="rpc.grpc.status_code").value.int_value = 5
    scope.spans.add(trace_id=b"\xaa" * 15, span_id=b"\x01" * 8, name="short")
    (found,) = spans_of(request)
    assert (found.trace_id, found.service, found.instance) == (A, "venue", "venue-1")
    assert (found.kind, found.start, found.end, found.failed) == ("server", 20, 20, True)


@pytest.mark.parametrize(("code", "failed"), [("0", False), ("1", False), ("7", True)])
def test_the_code_that_a_proxy_tells_as_text_counts(code: str, failed: bool) -> None:
    request = ExportTraceServiceRequest()
    told = (
        request.resource_spans.add()
        .scope_spans.add()
        .spans.add(trace_id=b"\xaa" * 16, span_id=b"\x01" * 8, status=Status())
    )
    told.attributes.add(key="grpc.status_code").value.string_value = code
    assert next(iter(spans_of(request))).failed is failed
