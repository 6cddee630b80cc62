"""Where everything listens: chosen once, kept in `endpoints.json`, used again at the next start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.catalog import ports
from services.catalog.processes import SERVICES
from services.ctl.servers.free import LOOPBACK, free_port, is_free
from services.ctl.supervisor.home import Home, Refused, read_json, write_json

AUTO = "auto"
DEFAULT = "default"
PUBLIC = ("ingress", *(service.key for service in SERVICES), "tls")
"""The ports that people know: the gateway's, in the order of the option `--ports`."""
MESHED = frozenset(service.key for service in SERVICES)
"""Services that get a sidecar; the venue stands for the exchange, which is outside."""
SIDECAR_PORTS = ("mesh", "admin")
WELL_KNOWN = dict(
    zip(
        PUBLIC,
        (ports.INGRESS, *(service.health_port for service in SERVICES), ports.INGRESS_TLS),
        strict=True,
    )
)


@dataclass(slots=True)
class Addresses:
    """Port by name, for example `ingress`, `nats`, `ai-1.grpc`; new names get free ports."""

    home: Home
    ports: dict[str, int]
    sockets: Path | None = None
    """Folder of the services' own sockets; None when no sidecar stands in front of them."""

    @classmethod
    def load(cls, home: Home, wanted: str) -> Addresses:
        """Take the ports of the last run, and the public ones as the option says."""
        kept = read_json(home.endpoints_file).get("ports", {})
        known = {str(name): int(port) for name, port in kept.items()}
        addresses = cls(home, known)
        addresses.ports |= addresses._public(wanted)
        return addresses

    def _public(self, wanted: str) -> dict[str, int]:
        if wanted == DEFAULT:
            return WELL_KNOWN
        if wanted == AUTO:
            kept = {n: p for n, p in self.ports.items() if p != WELL_KNOWN.get(n)}
            return {name: kept.get(name) or self._fresh() for name in PUBLIC}
        given = wanted.split(",")
        if len(given) != len(PUBLIC) or not all(part.strip().isdigit() for part in given):
            raise Refused(
                f"--ports {wanted}: say default, auto or five numbers for {', '.join(PUBLIC)}"
            )
        return dict(zip(PUBLIC, map(int, given), strict=True))

    @property
    def public(self) -> tuple[str, ...]:
        """Names of the ports that people know."""
        return PUBLIC

    def require_public_free(self) -> None:
        """Refuse to start while something else listens where people look for us."""
        taken = [f"{self.ports[name]} ({name})" for name in PUBLIC if not is_free(self.ports[name])]
        if taken:
            raise Refused(
                f"in use: port {', '.join(taken)}; stop what listens there, or start with"
                " --ports auto or --ports A,B,C,D,E"
            )

    def port(self, name: str) -> int:
        """Return the port of the name, choosing one when it has none."""
        if name not in self.ports:
            self.ports[name] = self._fresh()
        return self.ports[name]

    def preferred(self, name: str, port: int) -> int:
        """Return the port of the name; the one that people know, where ours are those too."""
        if name not in self.ports and all(self.ports.get(n) == WELL_KNOWN[n] for n in PUBLIC):
            self.ports[name] = port if is_free(port) else self._fresh()
        return self.port(name)

    def at(self, name: str) -> str:
        """Return host:port of the name."""
        return f"{LOOPBACK}:{self.port(name)}"

    def direct(self, instance: str, service: str) -> str:
        """Return where an instance itself listens, as gRPC dials it."""
        if self.sockets is None or service not in MESHED:
            return self.at(f"{instance}.grpc")
        return f"unix:{self.sockets / instance}.sock"

    def _instance(self, name: str, service: str) -> dict[str, str]:
        found = {
            "service": service,
            "grpc": self.direct(name, service),
            "metrics": self.at(f"{name}.metrics"),
        }
        if self.sockets is None or service not in MESHED:
            return {**found, "mesh": found["grpc"]}
        sidecar = {"mesh": self.at(f"{name}.mesh"), "admin": f"http://{self.at(f'{name}.admin')}"}
        return {**found, **sidecar}

    def renew_taken(self, held: set[str]) -> None:
        """Give new ports to inner names whose old port someone else took; `held` are running."""
        for name, port in list(self.ports.items()):
            if name not in PUBLIC and _owner(name) not in held and not is_free(port):
                self.ports[name] = self._fresh()

    def gateway(self) -> dict[str, str]:
        """Return the address of each port that people know."""
        return {
            name: f"{'https' if name == 'tls' else 'http'}://{self.at(name)}" for name in PUBLIC
        }

    def write(
        self, instances: Mapping[str, str], *, traces: str = "", metrics: str = ""
    ) -> dict[str, Any]:
        """Write `endpoints.json` for this set of instances (name to service) and return it.

        `traces` and `metrics` say in a line where people see them.
        """
        found: dict[str, Any] = {
            "ports": self.ports,
            "gateway": self.gateway(),
            "admin": f"http://{self.at('gateway.admin')}",
            "nats": f"nats://{self.at('nats')}",
            "postgres": self.at("postgres"),
            "venue": f"http://{self.at('venue.http')}",
            "traces": f"http://{self.at('traces.otlp')}",
            "traces_told": traces,
            "metrics_told": metrics,
            "instances": {
                name: self._instance(name, service) for name, service in instances.items()
            },
        }
        write_json(self.home.endpoints_file, found)
        return found

    def _fresh(self) -> int:
        return free_port(frozenset(self.ports.values()))


def _owner(port: str) -> str:
    """Return the unit that listens on the port of this name."""
    instance, _, kind = port.partition(".")
    return f"{instance}.sidecar" if kind in SIDECAR_PORTS and instance != "gateway" else instance
