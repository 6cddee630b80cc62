"""Which processes make the system on one machine, and with which settings each runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from services.catalog import ports
from services.catalog.processes import AI, ANALYTICS, EXEC_RISK, TRAINER, VENUE, Process
from services.catalog.processes import process as process_of
from services.ctl import policy
from services.ctl.render import gateway
from services.ctl.render.address import UNIX
from services.ctl.render.bus import OPERATOR
from services.ctl.render.tracing import Tracing
from services.ctl.servers import jaeger, prometheus
from services.ctl.servers.command import Command
from services.ctl.servers.envoy import EnvoyServer
from services.ctl.servers.free import LOOPBACK
from services.ctl.servers.jaeger import JaegerServer
from services.ctl.servers.nats import NatsServer
from services.ctl.servers.postgres import PostgresServer
from services.ctl.servers.prometheus import PrometheusServer
from services.ctl.servers.traces import TraceServer
from services.ctl.settings import GatewaySettings
from services.ctl.supervisor.addresses import Addresses
from services.ctl.supervisor.child import HOME_MARK, UNIT_MARK
from services.ctl.supervisor.database import DATABASE
from services.ctl.supervisor.door import Credentials
from services.ctl.supervisor.home import Home
from services.ctl.supervisor.market import LIVE, Market
from services.ctl.supervisor.mesh import Mesh
from services.ctl.supervisor.probes import HealthProbe
from services.ctl.supervisor.unit import Unit, digest
from services.kit.bus.login import BusLogin

ROOT = Path(__file__).resolve().parents[3]
BACKING, VENUE_STAGE, DOOR, SIDECARS, PARTS = range(5)
"""Stages: backing servers, venue, gateway, sidecars, services, which stop first, behind them."""
CONFIG_MARK = "QUANTUM_CONFIG"
"""In a server's environment: what its configuration was when it started."""
SCALABLE = (AI.key, ANALYTICS.key, EXEC_RISK.key)

Server = PostgresServer | NatsServer | EnvoyServer | TraceServer | JaegerServer | PrometheusServer
Program = Callable[[str], tuple[str, ...]]
"""Arguments that start the process with this key."""


def python_program(key: str) -> tuple[str, ...]:
    """Return `python -m services.<key>`."""
    return (sys.executable, "-m", f"services.{key}")


def build_id() -> str:
    """Return the commit that runs, or `unknown` outside a repository."""
    told = subprocess.run(
        ("git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"),  # noqa: S607
        capture_output=True,
        text=True,
    )
    return told.stdout.strip() or "unknown"


@dataclass(frozen=True, slots=True)
class Options:
    """What `qt up` was asked for."""

    market: Market
    speed: float | None = None
    """Candle-minutes a second; the venue's default when None."""
    pace: str = "lockstep"
    mesh: bool = True
    """Whether services talk through sidecars, with mutual TLS."""
    collector: str = ""
    """OTLP collector that gets every span too; Jaeger, where it is found, when empty."""
    gateway: GatewaySettings = field(default_factory=GatewaySettings)
    trainer: bool = False
    """Whether the trainer runs too."""


class Topology:
    """Makes the unit of each process."""

    def __init__(
        self,
        *,
        home: Home,
        addresses: Addresses,
        options: Options,
        program: Program = python_program,
    ) -> None:
        """`program` says how processes of our own are started; tests bring stand-ins."""
        self.home = home
        self.addresses = addresses
        self._options = options
        self._program = program
        self._build = build_id()
        self._secrets = home.secrets()
        self._tracing = Tracing(LOOPBACK, addresses.port("traces.otlp"))
        self.mesh = Mesh(home, addresses, self._tracing) if options.mesh else None
        self.policy = policy.load()
        self.credentials = Credentials(home, self.policy, options.gateway)
        self.identities = home.identities()
        self.postgres = PostgresServer(
            directory=home.root / "postgres",
            port=addresses.port("postgres"),
            log=home.logs / "postgres.log",
        )
        self.nats = NatsServer(
            directory=home.root / "nats",
            port=addresses.port("nats"),
            log=home.logs / "nats.log",
            identities=self.identities,
        )
        self.jaeger = None if options.collector else self._found_jaeger()
        collector = f"http://{LOOPBACK}:{self.jaeger.otlp}" if self.jaeger else options.collector
        self.traces = TraceServer(
            file=home.spans_file,
            port=addresses.port("traces.otlp"),
            log=home.logs / "traces.log",
            forward=collector,
        )
        self.prometheus = self._found_prometheus()

    def renew_build(self) -> None:
        """Take the commit of now as the build that is started from here on."""
        self._build = build_id()

    def _found_jaeger(self) -> JaegerServer | None:
        binary = jaeger.found()
        if binary is None:
            return None
        return JaegerServer(
            binary=binary,
            otlp=self.addresses.port("jaeger.otlp"),
            port=self.addresses.port("jaeger.page"),
            log=self.home.logs / "jaeger.log",
        )

    def _found_prometheus(self) -> PrometheusServer | None:
        binary = prometheus.found()
        if binary is None:
            return None
        return PrometheusServer(
            binary=binary,
            directory=self.home.root / "prometheus",
            port=self.addresses.preferred("prometheus.page", ports.PROMETHEUS),
            log=self.home.logs / "prometheus.log",
        )

    def backing(self) -> list[Unit]:
        """PostgreSQL, NATS, the trace store; Jaeger and Prometheus where they are found."""
        watchers = [server for server in (self.jaeger, self.prometheus) if server is not None]
        return [
            self._server_unit(self.postgres, f"{LOOPBACK}:{self.postgres.port}", BACKING),
            self._server_unit(self.nats, self.nats.url, BACKING),
            self._server_unit(self.traces, self.traces.url, BACKING),
            *(self._server_unit(server, server.url, BACKING) for server in watchers),
        ]

    @property
    def absent(self) -> dict[str, str]:
        """Parts that do not run here, with what to do about it."""
        found = {
            "jaeger": "" if self.jaeger is not None else jaeger.HOW_TO_GET,
            "prometheus": "" if self.prometheus is not None else prometheus.HOW_TO_GET,
            TRAINER.key: "" if self._options.trainer else "start the system with TRAINER=true",
        }
        return {part: how for part, how in found.items() if how}

    @property
    def traces_told(self) -> str:
        """Where people see traces, in a line."""
        if self.jaeger is not None:
            return f"{self.jaeger.url} (Jaeger), `qt trace --last-order`"
        passed = f"passed on to {self.traces.forward}" if self.traces.forward else jaeger.HOW_TO_GET
        return f"`qt trace --last-order`; {passed}"

    @property
    def metrics_told(self) -> str:
        """Where people see metrics, in a line."""
        return self.prometheus.url if self.prometheus is not None else prometheus.HOW_TO_GET

    def gateway(self) -> Unit:
        """Envoy with the rendered bootstrap."""
        admin = self.addresses.port("gateway.admin")
        self.credentials.tend()
        bootstrap = gateway.render(
            self.home.envoy,
            self.addresses.ports,
            admin,
            policy=self.policy,
            settings=self._options.gateway,
            transport=self.mesh.transport if self.mesh else None,
            tracing=self._tracing,
        )
        server = EnvoyServer(bootstrap=bootstrap, port=admin, log=self.home.logs / "gateway.log")
        return self._server_unit(server, f"http://{self.addresses.at('ingress')}", DOOR)

    def venue(self) -> Unit:
        """The paper exchange."""
        address = self.addresses.at("venue.http")
        market = self._options.market
        environment = {
            # no proxy watches it, so that there is no rotation to leave
            "DRAIN_DELAY_SECONDS": "0",
            "VENUE_LISTEN": address,
            "VENUE_MARKET": market.source,
            "VENUE_PACE": "free" if market.source == LIVE else self._options.pace,
            "VENUE_SEED": str(market.seed),
            "VENUE_JOURNAL": str(self.home.root / "venue" / "journal.sqlite"),
            "VENUE_API_KEY": self._secrets["api_key"],
            "VENUE_API_SECRET": self._secrets["api_secret"],
        }
        if self._options.speed is not None:
            environment["VENUE_SPEED"] = f"{self._options.speed:g}"
        return self._own_unit(VENUE, VENUE.key, environment, VENUE_STAGE, f"http://{address}")

    def on_demand(self) -> list[Unit]:
        """What runs only where it is asked for: the trainer."""
        if not self._options.trainer:
            return []
        settings = {
            "DRAIN_DELAY_SECONDS": "0",
            "TRAINER_FOLDER": str(self.home.root / "trainer"),
        }
        return [self._own_unit(TRAINER, TRAINER.key, settings, PARTS, "")]

    def service(self, process: Process, number: int, of: int) -> Unit:
        """Replica `number` (from 1) of a service of which `of` run."""
        name = process.key if of == 1 and process is not AI else f"{process.key}-{number}"
        settings = dict(self.environment(process))
        if self.mesh is not None:
            settings |= self.mesh.environment(process, name)
        return self._own_unit(process, name, settings, PARTS, "")

    def sidecars(self, services: Iterable[Unit]) -> list[Unit]:
        """Return the sidecar of each of these replicas; none without a mesh."""
        if self.mesh is None:
            return []
        found = []
        for unit in services:
            server = self.mesh.sidecar(process_of(unit.service), unit.name)
            address = self.addresses.at(f"{unit.name}.mesh")
            made = self._server_unit(server, address, SIDECARS)
            found.append(replace(made, retire=server.drain))
        return found

    def environment(self, process: Process) -> Mapping[str, str]:
        """Settings that only this service needs."""
        if process is EXEC_RISK:
            return {
                **self._database(process),
                "EMERGENCY_LATCH_FILE": str(self.home.root / "run" / "emergency_latch"),
                "PAPER_VENUE_URL": f"http://{self.addresses.at('venue.http')}",
                "BINANCE_API_KEY": self._secrets["api_key"],
                "BINANCE_API_SECRET": self._secrets["api_secret"],
            }
        if process is ANALYTICS:
            door = f"http://{self.addresses.at('ingress')}/v1/{AI.path}/health"
            return {**self._database(process), "GATEWAY_PROBE_URL": door}
        return {}

    @property
    def operator(self) -> BusLogin:
        """How the operator logs in to the bus."""
        return BusLogin(OPERATOR, self.identities.nkey_file(OPERATOR))

    def dsn(self, role: str) -> str:
        """Where a role logs in; its password lies in a file."""
        return f"postgresql://{role}@{LOOPBACK}:{self.postgres.port}/{DATABASE}"

    def _database(self, process: Process) -> dict[str, str]:
        name = f"{process.key.upper()}_POSTGRES"
        return {
            f"{name}_URL": self.dsn(process.key),
            f"{name}_PASSWORD_FILE": str(self.identities.password_file(process.key)),
        }

    def migration(self, process: Process) -> Command:
        """What brings the schema of a service to head."""
        return Command(
            arguments=(*self._program(process.key), "migrate"),
            log=self.home.logs / f"{process.key}-migrate.log",
            directory=ROOT,
            environment={**self._shared(f"{process.key}-migrate"), **self.environment(process)},
        )

    def _shared(self, name: str) -> dict[str, str]:
        return {
            HOME_MARK: str(self.home.root),
            UNIT_MARK: name,
            "SERVICE_INSTANCE": name,
            "NATS_URL": self.nats.url,
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.traces.url,
            "BUILD_ID": self._build,
            "PYTHONUNBUFFERED": "1",
        }

    def _own_unit(
        self, process: Process, name: str, settings: Mapping[str, str], stage: int, address: str
    ) -> Unit:
        grpc = self.addresses.direct(name, process.key)
        probe = HealthProbe(grpc)
        if process is not VENUE:
            settings = {**settings, "NATS_NKEY_FILE": str(self.identities.nkey_file(process.key))}
        environment = {
            **self._shared(name),
            "GRPC_ADDRESS": grpc,
            "METRICS_ADDRESS": self.addresses.at(f"{name}.metrics"),
            **settings,
        }
        return Unit(
            name=name,
            service=process.key,
            command=Command(
                arguments=self._program(process.key),
                log=self.home.logs / f"{name}.log",
                directory=ROOT,
                environment=environment,
            ),
            live=probe.of(""),
            ready=probe.of(process.grpc_service),
            address=address or grpc,
            stage=stage,
            port=0 if grpc.startswith(UNIX) else self.addresses.port(f"{name}.grpc"),
        )

    def _server_unit(self, server: Server, address: str, stage: int) -> Unit:
        command = server.command()
        marks = {HOME_MARK: str(self.home.root), UNIT_MARK: server.name}
        # one that runs with an old configuration is not taken over
        if isinstance(server, EnvoyServer):
            marks[CONFIG_MARK] = digest(server.bootstrap.read_text())
        if isinstance(server, NatsServer | PrometheusServer):
            marks[CONFIG_MARK] = digest(server.configuration())
        return Unit(
            name=server.name,
            service=server.name,
            command=Command(
                arguments=command.arguments,
                log=command.log,
                directory=command.directory,
                environment=marks,
                stop_signal=command.stop_signal,
            ),
            live=server.probe,
            ready=server.probe,
            address=address,
            stage=stage,
            port=server.port,
            prepare=server.prepare,
        )
