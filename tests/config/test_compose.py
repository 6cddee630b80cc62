"""The compose files, as Compose itself reads them: names, ports, limits, secrets."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from services.analytics.alerts.receiver import PATH
from services.catalog import ports
from services.catalog.processes import (
    AI,
    ANALYTICS,
    EXEC_RISK,
    ON_DEMAND,
    PROCESSES,
    SERVICES,
    TRAINER,
)
from services.ctl import policy
from services.ctl.__main__ import app
from services.ctl.commands.setup import NAMES, Setup
from services.ctl.commands.setup import OURS as OURS_ID
from services.ctl.supervisor.home import Home

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = Path(sys.executable).with_name("docker-compose")
TABLE = policy.load()
FILES = {"plain": ("compose.yaml",), "prod": ("compose.yaml", "compose.prod.yaml")}
KEYS = "compose.keys.yaml"
OURS = {*(p.name for p in (*PROCESSES, *ON_DEMAND)), "gateway", "setup", "certificates", "streams"}
MIGRATIONS = {"migrate-exec-risk", "migrate-analytics"}
ONCE = {"setup", "streams", *MIGRATIONS}
GIB = 1024**3
TOKEN_FILE = "ALERT_RECEIVER_TOKEN_FILE"
TOKENS = ("alertmanager/token", "analytics/alert_token")
OWNER = f"{OURS_ID}:{OURS_ID}"
"""Who reads what `setup` hands over."""


@cache
def read(kind: str) -> dict[str, Any]:
    files = [part for name in FILES[kind] for part in ("-f", str(ROOT / name))]
    done = subprocess.run(
        [COMPOSE, *files, "--profile=trainer", "config", "--no-env-resolution"],
        capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "HOME": "/"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = yaml.safe_load(done.stdout)
    return found


@pytest.fixture(params=sorted(FILES))
def services(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = read(request.param)["services"]
    return found


def test_names_are_the_guides_and_the_catalogs(services: dict[str, Any]) -> None:
    assert {process.name for process in PROCESSES} <= set(services)
    named = {n: s["container_name"] for n, s in services.items() if "container_name" in s}
    assert named == {"postgres": "quantum_trader_postgres", "nats": "quantum_trader_nats"}
    # servers show certificates for the names by which clients call them
    for server, names in NAMES.items():
        assert {server, named[server]} <= set(names)


def test_what_is_scaled_has_no_name_and_no_port_of_its_own(services: dict[str, Any]) -> None:
    for service in SERVICES:
        assert "ports" not in services[service.name]
        assert "container_name" not in services[service.name]
        # the name by which the gateway finds replicas that are not ready too
        aliases = services[service.name]["networks"]["inside"]["aliases"]
        assert aliases == [f"{service.name}-replicas"]


def test_published_ports_are_the_guides_and_only_the_tls_door_leaves_the_machine(
    services: dict[str, Any],
) -> None:
    found = {
        int(port["published"]): (name, port.get("host_ip"))
        for name, service in services.items()
        for port in service.get("ports", [])
    }
    wanted = {
        ports.INGRESS: "gateway", ports.INGRESS_TLS: "gateway", ports.PROMETHEUS: "prometheus",
        ports.GRAFANA: "grafana", ports.JAEGER: "jaeger", ports.NATS: "nats",
        ports.POSTGRES: "postgres", 9093: "alertmanager",
        **{service.health_port: "gateway" for service in SERVICES},
    }  # fmt: skip
    assert {port: name for port, (name, _) in found.items()} == wanted
    assert [port for port, (_, host) in found.items() if host != "127.0.0.1"] == [ports.INGRESS_TLS]


def test_every_container_is_locked_down(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service, name
        assert not any(v["source"].endswith("docker.sock") for v in service.get("volumes", []))
        if "cap_add" in service:
            assert name == "setup", "it alone hands files over"


def test_every_container_that_stays_says_how_it_is(services: dict[str, Any]) -> None:
    for name, service in services.items():
        if name in ONCE:
            assert service["restart"] == "no"
        else:
            assert service["restart"] == "unless-stopped"
            own = name == "paper-venue"  # the image's own check asks it for liveness
            assert own or service["healthcheck"]["test"], name
    for service in SERVICES:
        told = services[service.name]["healthcheck"]["test"]
        assert told == ["CMD", "python", "-m", "services.ctl.healthcheck", service.grpc_service]


def test_checks_of_our_image_use_what_is_in_it(services: dict[str, Any]) -> None:
    """Incident 107: a check by curl, which the image does not have, is unhealthy for ever."""
    for name in (*OURS, "gateway"):
        told = services[name].get("healthcheck", {}).get("test")
        assert not told or told[:2] in (["CMD", "python"], ["CMD", "test"]), name


def test_every_dependency_is_one_that_can_come_true(services: dict[str, Any]) -> None:
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if needed in ONCE else "service_healthy"
            assert how["condition"] == wanted, f"{name} needs {needed}"


def test_every_command_is_one_that_the_image_has(services: dict[str, Any]) -> None:
    known = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    for name in OURS:
        command = services[name]["command"]
        assert command[0] in known, name
        if command[0] == "run":
            assert command[1] in {*(p.key for p in (*PROCESSES, *ON_DEMAND)), "gateway"}
    for name in MIGRATIONS:
        assert services[name]["entrypoint"][-1] == "migrate"


def test_services_listen_on_a_socket_that_only_their_sidecar_reaches(
    services: dict[str, Any],
) -> None:
    for service in SERVICES:
        environment = services[service.name]["environment"]
        assert environment["GRPC_ADDRESS"].startswith("unix:/tmp/")
        assert environment["MESH_CERTIFICATES"] == "/run/secrets/mesh"


def test_every_process_and_its_proxy_write_spans_and_show_counters(
    services: dict[str, Any],
) -> None:
    for name in ("gateway", *(service.name for service in SERVICES)):
        told = services[name]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"]
        assert told == f"http://jaeger:{ports.OTLP}"
        told = services[name]["environment"]["MESH_STATS_LISTEN"]
        assert told == f"0.0.0.0:{ports.PROXY_STATS}"


def mounted(service: dict[str, Any]) -> dict[str, str]:
    return {v["target"]: v["source"] for v in service.get("volumes", [])}


def test_each_secret_is_a_file_that_its_owner_alone_is_given(services: dict[str, Any]) -> None:
    keepers = {"setup", "certificates"}
    for key, name in ((s.key, s.name) for s in SERVICES):
        own = key.replace("_", "-")
        assert mounted(services[name])["/run/secrets/quantum"] == f"secrets-{own}"
        assert mounted(services[name])["/run/secrets/mesh"] == f"certificates-{own}"
        users = {n for n, s in services.items() if f"secrets-{own}" in mounted(s).values()}
        assert users - keepers == {name, f"migrate-{own}"} & set(services)
    for name, service in services.items():
        if name not in keepers:
            for volume in service.get("volumes", []):
                if volume["source"].startswith(("secrets-", "certificates-")):
                    assert volume["read_only"] is True, name
        for variable in service.get("environment") or {}:
            secret = any(word in variable for word in ("PASSWORD", "SECRET", "SEED"))
            # Grafana's first password is the guide's; it listens on this machine alone
            assert not secret or variable.endswith("_FILE") or name == "grafana", variable


def test_the_trainer_runs_only_where_it_is_asked_for(services: dict[str, Any]) -> None:
    """It has a user on the bus, a place for its jobs, and nobody to call."""
    profiled = {name for name, service in services.items() if service.get("profiles")}
    assert profiled == {TRAINER.name} and services[TRAINER.name]["profiles"] == ["trainer"]
    held = mounted(services[TRAINER.name])
    assert held["/run/secrets/quantum"] == "secrets-trainer"
    assert services[TRAINER.name]["environment"]["TRAINER_FOLDER"].startswith("/var/lib/quantum/")
    assert "MESH_CERTIFICATES" not in services[TRAINER.name]["environment"]
    assert mounted(services["setup"])["/secrets/state/trainer"] == held["/var/lib/quantum"]
    users = {n for n, s in services.items() if "secrets-trainer" in mounted(s).values()}
    assert users == {TRAINER.name, "setup"}


def test_setup_has_a_volume_for_every_folder_that_it_writes(
    services: dict[str, Any], tmp_path: Path
) -> None:
    Setup(tmp_path / "secrets", Home(tmp_path / "home"), TABLE).run()
    written = {folder.name for folder in (tmp_path / "secrets").iterdir()}
    places = mounted(services["setup"])
    assert {f"/secrets/{name}" for name in written} <= set(places)


def test_what_alertmanager_tells_comes_back_to_analytics(
    services: dict[str, Any], tmp_path: Path
) -> None:
    """One token, a file for each of both; the address is where analytics listens."""
    told = services[ANALYTICS.name]["environment"]
    assert told["ALERTMANAGER_URL"] == "http://alertmanager:9093"
    found = yaml.safe_load((ROOT / "mesh" / "observability" / "alertmanager.yml").read_text())
    (hook,) = next(r for r in found["receivers"] if r["name"] == "analytics")["webhook_configs"]
    assert hook["send_resolved"] is True
    port = told["ALERT_RECEIVER_ADDRESS"].rpartition(":")[2]
    assert hook["url"] == f"http://{ANALYTICS.name}:{port}{PATH}"
    assert found["route"]["routes"][0] | {"group_wait": ""} == {
        "receiver": "analytics", "continue": True, "group_wait": "",
    }  # fmt: skip
    Setup(tmp_path / "secrets", Home(tmp_path / "home"), TABLE).run()
    credentials = Path(hook["http_config"]["authorization"]["credentials_file"])
    for name, file in (("alertmanager", credentials), (ANALYTICS.name, Path(told[TOKEN_FILE]))):
        volume = mounted(services[name])[str(file.parent)]
        folder = next(
            target for target, source in mounted(services["setup"]).items() if source == volume
        )
        made = tmp_path / "secrets" / Path(folder).name / file.name
        assert made.read_text() and made.stat().st_mode & 0o077 == 0
    assert services["alertmanager"]["user"] == OWNER
    tokens = {(tmp_path / "secrets" / name).read_text() for name in TOKENS}
    assert len(tokens) == 1


def test_only_who_must_leaves_the_inner_network(services: dict[str, Any]) -> None:
    for kind in FILES:
        assert read(kind)["networks"]["inside"]["internal"] is True
    outside = {n for n, s in services.items() if "outside" in (s.get("networks") or {})}
    published = {n for n, s in services.items() if s.get("ports")}
    assert outside - published == {EXEC_RISK.name, "paper-venue"}


def test_limits_in_production_are_the_guides() -> None:
    found = read("prod")["services"]
    wanted = {
        AI.name: (8, 16, 4, 8),
        EXEC_RISK.name: (4, 8, 2, 4),
        ANALYTICS.name: (4, 8, 2, 4),
    }
    for name, (cpus, memory, least_cpus, least_memory) in wanted.items():
        resources = found[name]["deploy"]["resources"]
        assert float(resources["limits"]["cpus"]) == cpus
        assert int(resources["limits"]["memory"]) == memory * GIB
        assert float(resources["reservations"]["cpus"]) == least_cpus
        assert int(resources["reservations"]["memory"]) == least_memory * GIB
    assert not any("build" in service for service in found.values())
    for name, service in found.items():
        assert name in ONCE | {"certificates"} or service["deploy"]["resources"]["limits"], name


def test_keys_of_the_exchange_are_files_of_who_reads_them(tmp_path: Path) -> None:
    files = [part for name in (*FILES["prod"], KEYS) for part in ("-f", str(ROOT / name))]
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": "/",
        "EXCHANGE_VENUE": "demo",
        "BINANCE_API_KEY_FILE": str(tmp_path / "key"),
        "BINANCE_API_SECRET_FILE": str(tmp_path / "secret"),
    }
    command = [str(COMPOSE), *files, "config", "--no-env-resolution"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    made = yaml.safe_load(done.stdout)
    readers = {name for name, service in made["services"].items() if service.get("secrets")}
    assert readers == {EXEC_RISK.name, "migrate-exec-risk"}
    for name in readers:
        given = {f"/run/secrets/{one['source']}" for one in made["services"][name]["secrets"]}
        told = made["services"][name]["environment"]
        assert {told["BINANCE_API_KEY_FILE"], told["BINANCE_API_SECRET_FILE"]} == given
        assert told["EXCHANGE_VENUE"] == "demo"
    assert made["secrets"]["binance_api_key"]["file"] == str(tmp_path / "key")
    del environment["BINANCE_API_SECRET_FILE"]
    refused = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert refused.returncode != 0 and "the file that holds the secret" in refused.stderr


def test_a_wrong_key_is_noticed(tmp_path: Path) -> None:
    wrong = tmp_path / "compose.yaml"
    text = (ROOT / "compose.yaml").read_text()
    wrong.write_text(text.replace("    stop_signal:", "    stop_sgnal:"))
    done = subprocess.run([COMPOSE, "-f", wrong, "config", "-q"], capture_output=True, text=True)
    assert done.returncode != 0
    assert "stop_sgnal" in done.stderr
