"""The gateway of containers: Envoy takes it, replicas come from DNS, and it shows what it must."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from services.catalog import ports
from services.catalog.processes import SERVICES
from services.ctl import policy
from services.ctl.certs import Authority
from services.ctl.delivery import certificates_folder, of_home
from services.ctl.render import certificate
from services.ctl.render.pieces import LOADER
from services.ctl.render.tracing import COLLECTOR
from services.ctl.servers.command import Command
from services.ctl.servers.envoy import EnvoyServer, validate
from services.ctl.settings import GatewaySettings
from services.ctl.supervisor.container import MeshSettings, behind_sidecar
from services.ctl.supervisor.front_door import DoorSettings, FrontDoor
from services.ctl.supervisor.home import Home, Refused
from services.ctl.supervisor.unit import Unit

TABLE = policy.load()
ANYWHERE = "0.0.0.0"  # noqa: S104
PORTS = {"ingress": 18080, "tls": 18443, "ai": 18001, "exec_risk": 18002, "analytics": 18003}


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    home = Home(tmp_path / "certificates")
    of_home(home, TABLE).tend()
    return certificates_folder(home) / policy.GATEWAY


def door(home: Path, mesh: Path | None, collector: str = "", **settings: Any) -> FrontDoor:
    return FrontDoor(
        settings=DoorSettings(_env_file=None, quantum_home=home, **settings),
        mesh=MeshSettings(
            _env_file=None, mesh_certificates=mesh, otel_exporter_otlp_endpoint=collector
        ),
        gateway=GatewaySettings(_env_file=None, gateway_tls_host=ANYWHERE),
        policy=TABLE,
        ports=PORTS,
        admin=18901,
    )


def rendered(made: FrontDoor) -> dict[str, Any]:
    made.unit()
    bootstrap = made.home.envoy / "bootstrap.yaml"
    validate(bootstrap)
    found: dict[str, Any] = yaml.load(bootstrap.read_text(), LOADER)  # noqa: S506
    return found


def test_replicas_come_from_dns_and_must_show_who_they_are(tmp_path: Path, identity: Path) -> None:
    clusters = rendered(door(tmp_path / "home", identity))["static_resources"]["clusters"]
    assert {cluster["type"] for cluster in clusters} == {"STRICT_DNS"}
    by_name = {cluster["name"]: cluster for cluster in clusters}
    for service in SERVICES:
        for name, host in ((service.key, ""), (f"{service.key}-direct", "-replicas")):
            [locality] = by_name[name]["load_assignment"]["endpoints"]
            [endpoint] = locality["lb_endpoints"]
            assert endpoint["endpoint"]["address"]["socket_address"] == {
                "address": f"{service.name}{host}",
                "port_value": ports.GRPC,
            }
            assert TABLE.spiffe(service.key) in str(by_name[name]["transport_socket"])


def test_where_a_mesh_is_around_it_dials_in_clear(tmp_path: Path) -> None:
    clusters = rendered(door(tmp_path / "home", None))["static_resources"]["clusters"]
    assert not any("transport_socket" in cluster for cluster in clusters)


@pytest.mark.parametrize(
    ("collector", "host", "port", "secure"),
    [
        ("http://jaeger:4317", "jaeger", 4317, False),
        ("http://jaeger-collector.monitoring", "jaeger-collector.monitoring", 4317, False),
        ("https://otlp.example.com:443", "otlp.example.com", 443, True),
    ],
)
def test_it_writes_spans_to_the_collector_of_the_setting(
    tmp_path: Path, collector: str, host: str, port: int, secure: bool
) -> None:
    made = rendered(door(tmp_path / "home", None, collector))["static_resources"]
    [cluster] = [c for c in made["clusters"] if c["name"] == COLLECTOR]
    [locality] = cluster["load_assignment"]["endpoints"]
    [endpoint] = locality["lb_endpoints"]
    told = endpoint["endpoint"]["address"]["socket_address"]
    assert told == {"address": host, "port_value": port}
    assert ("transport_socket" in cluster) is secure
    written = {listener["name"] for listener in made["listeners"] if "'tracing'" in str(listener)}
    assert written == {"ingress", "tls"}


def test_a_sidecar_of_a_container_writes_spans_to_the_collector_too(
    tmp_path: Path, identity: Path
) -> None:
    service = Unit(
        name="analytics",
        service="analytics",
        command=Command(arguments=("true",), log=None, directory=tmp_path),
        live=EnvoyServer(bootstrap=tmp_path / "x", port=1).probe,
        ready=EnvoyServer(bootstrap=tmp_path / "x", port=1).probe,
        address=f"unix:{tmp_path}/run/service.sock",
    )
    chosen = MeshSettings(
        _env_file=None,
        mesh_certificates=identity.with_name("analytics"),
        mesh_listen="127.0.0.1:18051",
        otel_exporter_otlp_endpoint="http://jaeger:4317",
    )
    behind_sidecar(service, chosen)
    bootstrap = tmp_path / "run" / "sidecar.yaml"
    validate(bootstrap)
    made = yaml.load(bootstrap.read_text(), LOADER)["static_resources"]  # noqa: S506
    assert COLLECTOR in {cluster["name"] for cluster in made["clusters"]}
    written = {listener["name"] for listener in made["listeners"] if "'tracing'" in str(listener)}
    assert written == {"inbound", "outbound"}


def test_an_address_of_a_collector_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="OTEL_EXPORTER_OTLP_ENDPOINT=jaeger:4317"):
        door(tmp_path / "home", None, "jaeger:4317").unit()


def test_plain_doors_stay_on_the_loopback_unless_told_otherwise(tmp_path: Path) -> None:
    for host in ("127.0.0.1", ANYWHERE):
        made = rendered(door(tmp_path / host, None, gateway_plain_host=host))
        found = {
            listener["name"]: listener["address"]["socket_address"]["address"]
            for listener in made["static_resources"]["listeners"]
        }
        assert found.pop("tls") == ANYWHERE
        assert set(found.values()) == {host}
        assert made["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"


def test_it_shows_the_certificate_that_it_was_given_and_takes_a_new_one(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    serials = []
    made = door(tmp_path / "home", None, gateway_certificate=given)
    for number in range(2):
        leaf = issue(tmp_path / f"ca-{number}")
        (given / "tls.crt").write_text(leaf[0])
        (given / "tls.key").write_text(leaf[1])
        made.tend()
        held = certificate.read(made.home.envoy)
        assert held is not None
        serials.append(held.serial_number)
    assert len(set(serials)) == 2
    rendered(made)


def issue(folder: Path) -> tuple[str, str]:
    authority = Authority(folder, TABLE)
    with authority.lock():
        leaf = authority.issue(policy.GATEWAY, ["trade.example.com"])
    return leaf.certificate, leaf.key
