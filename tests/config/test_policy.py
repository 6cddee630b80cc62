"""The policy table is whole, and refuses what contradicts itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from services.catalog import events, subjects
from services.catalog.processes import ON_DEMAND, PROCESSES, SERVICES
from services.ctl import policy
from services.ctl.render import descriptor

TABLE = policy.load()


def every_method() -> list[tuple[str, str]]:
    found = []
    for file in descriptor.contracts().file:
        if file.package.startswith("quantum."):
            for service in file.service:
                full = f"{file.package}.{service.name}"
                found += [(full, method.name) for method in service.method]
    return found


def test_every_method_of_the_contracts_has_a_role_and_no_other_stands_there() -> None:
    known = every_method()
    for service, method in known:
        TABLE.least_role(service, method)
    for service, listed in TABLE.methods.items():
        if service.startswith("quantum."):
            stale = {m for m in listed if m != "*"} - {m for s, m in known if s == service}
            assert not stale, f"{service} has no {stale}"


def test_what_changes_something_needs_more_than_the_loopback_gives() -> None:
    for service in SERVICES:
        for method, kind in descriptor.kinds(service.grpc_service).items():
            if kind == "write":
                assert TABLE.needs_token(service.grpc_service, method, "loopback"), method


def test_names_are_those_of_the_catalog() -> None:
    keys = {process.key for process in (*PROCESSES, *ON_DEMAND)}
    assert set(TABLE.identities) <= keys | {policy.GATEWAY}
    assert set(TABLE.bus) <= keys
    streams = {stream.name for stream in subjects.STREAMS}
    for user in TABLE.bus.values():
        assert {*user.read, *user.work} <= streams


def test_only_one_user_may_publish_signals_and_one_the_market() -> None:
    """Incident of a forged signal: who else publishes under `quantum.live.signal` is refused."""
    for subject, owner in (("quantum.live.signal.", "ai"), ("quantum.market.", "exec_risk")):
        able = [n for n, u in TABLE.bus.items() if any(p.startswith(subject) for p in u.publish)]
        assert able == [owner]
    for user in TABLE.bus.values():
        assert not any(p in (">", "quantum.>", "quantum.live.>") for p in user.publish)


def test_every_fact_has_a_publisher() -> None:
    owners = {name for name, user in TABLE.bus.items() if user.facts}
    for kind, message in events.MESSAGES.items():
        owner = message.DESCRIPTOR.full_name.split(".")[1]
        live = any(
            f"quantum.live.{kind}.".startswith(p.removesuffix(">"))
            or p.startswith(f"quantum.live.{kind}.")
            for user in TABLE.bus.values()
            for p in user.publish
        )
        assert live or owner in owners or kind == events.OPERATOR_COMMAND, kind


@given(service=st.sampled_from(sorted(TABLE.methods)), door=st.sampled_from(["loopback", "tls"]))
def test_a_higher_role_may_do_what_a_lower_one_may(service: str, door: policy.Door) -> None:
    for method in TABLE.methods[service]:
        allowed = TABLE.roles_for(service, method)
        assert allowed == TABLE.roles[len(TABLE.roles) - len(allowed) :]
        if not TABLE.needs_token(service, method, "tls"):
            assert not TABLE.needs_token(service, method, door)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"roles": ["viewer", "viewer"]}, "roles"),
        ({"open_on_loopback": "king"}, "king is no role"),
        ({"methods": {"a.B": {"C": "king"}}}, "a.B/C: king is no role"),
        ({"calls": [{"from": "a", "to": "b", "methods": ["no.Such/Method"]}]}, "unknown method"),
        ({"unknown": 1}, "unknown"),
        ({"trust_domain": 7}, "trust_domain"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(
    change: dict[str, object], told: str, tmp_path: Path
) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(policy.FILE.read_text()) | change))
    with pytest.raises(policy.BadPolicy, match=told):
        policy.load(file)
