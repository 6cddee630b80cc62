"""Ports are chosen once, kept, and never shared."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.ctl.servers.free import LOOPBACK, free_port, is_free
from services.ctl.supervisor.addresses import AUTO, DEFAULT, Addresses
from services.ctl.supervisor.home import Home, Refused

INSTANCES = {"ai-1": "ai", "ai-2": "ai", "venue": "venue"}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.create()
    return home


@pytest.fixture
def taken() -> Iterator[int]:
    port = free_port()
    with socket.create_server((LOOPBACK, port)):
        yield port


def test_a_port_with_a_listener_is_not_free(taken: int) -> None:
    assert not is_free(taken)
    assert free_port(frozenset({taken})) != taken


def test_default_ports_are_those_that_people_know(home: Home) -> None:
    addresses = Addresses.load(home, DEFAULT)
    known = [addresses.port(name) for name in ("ingress", "ai", "exec_risk", "analytics", "tls")]
    assert known == [8080, 8001, 8002, 8003, 8443]


def test_chosen_ports_differ_and_come_back_at_the_next_start(home: Home) -> None:
    first = Addresses.load(home, AUTO)
    written = first.write(INSTANCES)
    assert len(set(first.ports.values())) == len(first.ports)
    second = Addresses.load(home, AUTO)
    assert second.write(INSTANCES) == written


def test_an_inner_port_that_someone_took_is_chosen_anew_unless_it_is_ours(
    home: Home, taken: int
) -> None:
    addresses = Addresses.load(home, AUTO)
    addresses.ports |= {"nats": taken, "ai-1.grpc": taken}
    addresses.renew_taken({"ai-1"})
    assert addresses.port("ai-1.grpc") == taken, "ai-1 itself runs there and is adopted"
    assert addresses.port("nats") != taken


def test_a_public_port_in_use_is_refused_with_its_name(home: Home, taken: int) -> None:
    free = [free_port() for _ in range(4)]
    addresses = Addresses.load(home, ",".join(map(str, [free[0], taken, *free[1:]])))
    with pytest.raises(Refused, match=rf"in use: port {taken} \(ai\); .*--ports auto"):
        addresses.require_public_free()


@pytest.mark.parametrize("ports", ["8080", "a,b,c,d", "1,2,3,4", "1,2,3,4,5,6", ""])
def test_nonsense_ports_are_refused(home: Home, ports: str) -> None:
    with pytest.raises(Refused, match=r"say default, auto or five numbers"):
        Addresses.load(home, ports)
