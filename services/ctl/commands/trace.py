"""`qt trace`: what led to an order, and what came of it, from the embedded trace store."""

from __future__ import annotations

import contextlib
import string
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import typer

from services.ctl.commands.options import DEFAULT_HOME, HomeOption, JsonOption, answer
from services.ctl.supervisor.home import Home, Refused
from services.ctl.terminal import trace_tree
from services.ctl.traces.store import SpanStore
from services.ctl.traces.tree import as_value, grow

_SHORTEST = 4


def trace(
    trace_id: Annotated[
        str, typer.Argument(help="Trace id, or how it begins, as logs and the ledger show it.")
    ] = "",
    last_order: Annotated[
        bool, typer.Option("--last-order", help="The newest trace in which an order was sent.")
    ] = False,
    order: Annotated[str, typer.Option("--order", help="The trace of a client order id.")] = "",
    list_: Annotated[bool, typer.Option("--list", help="List the newest traces.")] = False,
    failed: Annotated[
        bool, typer.Option("--failed", help="List only those in which something failed.")
    ] = False,
    count: Annotated[int, typer.Option(min=1, help="At most this many in a list.")] = 20,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Show a trace as a tree: offset from its begin, duration, service, what it was about.

    Example: qt trace --last-order
    """
    chosen = [bool(trace_id), last_order, bool(order), list_ or failed]
    if sum(chosen) != 1:
        raise Refused("say one of: a trace id, --last-order, --order ID, --list, --failed")
    with _store(Home(home)) as store:
        if list_ or failed:
            found = store.list(count, failed=failed)
            answer([asdict(each) for each in found], trace_tree.table(found), as_json)
            return
        whole = _chosen(store, trace_id, order)
        roots = grow(store.trace(whole))
        origin = min(root.span.start for root in roots)
        value = {"trace_id": whole, "spans": [as_value(root, origin) for root in roots]}
        answer(value, trace_tree.tree(whole, roots), as_json)


@contextlib.contextmanager
def _store(home: Home) -> Iterator[SpanStore]:
    try:
        store = SpanStore.read(home.spans_file)
    except FileNotFoundError:
        raise Refused(f"no traces in {home.root}: start the system with `qt up`") from None
    try:
        yield store
    finally:
        store.close()


def _chosen(store: SpanStore, trace_id: str, order: str) -> str:
    if order:
        found = store.of_order(order)
        if found is None:
            raise Refused(f"no trace of order {order}; `qt trace --list` shows what there is")
        return found
    if not trace_id:
        found = store.last_order()
        if found is None:
            raise Refused("no order was sent yet; `qt trace --list` shows what there is")
        return found
    prefix = trace_id.lower()
    if len(prefix) < _SHORTEST or not set(prefix) <= set(string.hexdigits):
        raise Refused(f"{trace_id} is no trace id: at least {_SHORTEST} hexadecimal characters")
    ids = store.starting_with(prefix)
    if not ids:
        raise Refused(f"no trace {trace_id}; `qt trace --list` shows what there is")
    if len(ids) > 1:
        raise Refused(f"several traces begin with {trace_id}: {', '.join(ids)}, perhaps more")
    return ids[0]
