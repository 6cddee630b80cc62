"""Reads `mesh/policy.yaml`, the one table of who may do what, and answers questions about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

FILE = Path(__file__).resolve().parents[2] / "mesh" / "policy.yaml"
OPEN = "open"
"""Least role of a method that needs no token."""
INSIDE = "inside"
"""In place of a role: the gateway does not route the method at all."""
ANY = "*"
GATEWAY = "gateway"


class BadPolicy(ValueError):
    """The table cannot be read or contradicts itself; the text names the place and the rule."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Call(_Strict):
    """One edge of the mesh: these methods (`service/method` or `service/*`) of the callee."""

    caller: Annotated[str, Field(alias="from")]
    callee: Annotated[str, Field(alias="to")]
    methods: Annotated[list[str], Field(min_length=1)]


class BusUser(_Strict):
    """What one user of the bus may do."""

    publish: list[str]
    facts: bool
    read: Mapping[str, list[str]]
    work: Mapping[str, list[str]]
    last: list[str] = []


class Hop(_Strict):
    """Messages of the subject go from a publisher to a handler."""

    subject: str
    publisher: Annotated[str, Field(alias="from")]
    handler: Annotated[str, Field(alias="to")]


class DatabaseRoles(_Strict):
    """Login roles: owners of the schema of their name, and readers of everything."""

    owners: list[str]
    readers: list[str]


class _Table(_Strict):
    trust_domain: str
    roles: Annotated[list[str], Field(min_length=1)]
    open_on_loopback: str
    methods: Mapping[str, Mapping[str, str]]
    calls: list[Call]
    bus: Mapping[str, BusUser]
    database: DatabaseRoles
    hops: list[Hop]


Door = Literal["loopback", "tls"]


@dataclass(frozen=True, slots=True)
class Policy:
    """The table, checked."""

    table: _Table

    @property
    def roles(self) -> tuple[str, ...]:
        """Roles, the least first."""
        return tuple(self.table.roles)

    @property
    def calls(self) -> tuple[Call, ...]:
        """Edges of the mesh."""
        return tuple(self.table.calls)

    @property
    def hops(self) -> tuple[Hop, ...]:
        """Edges of the bus."""
        return tuple(self.table.hops)

    @property
    def bus(self) -> Mapping[str, BusUser]:
        """Users of the bus by name."""
        return self.table.bus

    @property
    def database(self) -> DatabaseRoles:
        """Login roles of the database."""
        return self.table.database

    @property
    def methods(self) -> Mapping[str, Mapping[str, str]]:
        """Least role by full service name and method; `*` stands for every method."""
        return self.table.methods

    @property
    def identities(self) -> tuple[str, ...]:
        """Everybody who calls or is called, in the order of first mention."""
        named = [name for call in self.calls for name in (call.caller, call.callee)]
        return tuple(dict.fromkeys(named))

    def spiffe(self, name: str) -> str:
        """Return the SPIFFE id of an identity."""
        return f"spiffe://{self.table.trust_domain}/{name}"

    def least_role(self, service: str, method: str) -> str:
        """Return the least role for a method, `open` or `inside`; BadPolicy when it is unknown."""
        listed = self.methods.get(service, {})
        role = listed.get(method, listed.get(ANY))
        if role is None:
            raise BadPolicy(f"methods: {service}/{method} stands nowhere")
        return role

    def roles_for(self, service: str, method: str) -> tuple[str, ...]:
        """Return the roles that may call the method; all of them for an open one."""
        least = self.least_role(service, method)
        if least == INSIDE:
            return ()
        return self.roles if least == OPEN else self.roles[self.roles.index(least) :]

    def needs_token(self, service: str, method: str, door: Door) -> bool:
        """Tell whether a caller at this door must show a token."""
        least = self.least_role(service, method)
        if least == OPEN:
            return False
        if least == INSIDE or door == "tls":
            return True
        return self.roles.index(least) > self.roles.index(self.table.open_on_loopback)

    def callers_of(self, callee: str) -> Mapping[str, tuple[str, ...]]:
        """Return the methods that each caller may call of this callee."""
        return {call.caller: tuple(call.methods) for call in self.calls if call.callee == callee}


def load(file: Path = FILE) -> Policy:
    """Read and check the table; BadPolicy says in one line what is wrong."""
    try:
        table = _Table.model_validate(yaml.safe_load(file.read_text()))
    except (OSError, yaml.YAMLError) as error:
        raise BadPolicy(f"{file.name} cannot be read: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise BadPolicy(f"{file.name}: {place}: {first['msg']}") from error
    _check(table)
    return Policy(table)


def _check(table: _Table) -> None:
    if len(set(table.roles)) != len(table.roles) or {OPEN, INSIDE} & set(table.roles):
        raise BadPolicy("roles: each once, and none is called open or inside")
    if table.open_on_loopback not in table.roles:
        raise BadPolicy(f"open_on_loopback: {table.open_on_loopback} is no role")
    for service, listed in table.methods.items():
        for method, role in listed.items():
            if role not in (*table.roles, OPEN, INSIDE):
                raise BadPolicy(f"methods: {service}/{method}: {role} is no role")
    edges = [(call.caller, call.callee) for call in table.calls]
    if len(set(edges)) != len(edges):
        raise BadPolicy("calls: an edge stands twice")
    for call in table.calls:
        for path in call.methods:
            service, _, method = path.partition("/")
            known = table.methods.get(service, {})
            if not method or (method != ANY and not {method, ANY} & known.keys()) or not known:
                raise BadPolicy(f"calls: {call.caller} to {call.callee}: unknown method {path}")
