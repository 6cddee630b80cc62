"""The gateway in a container of its own: replicas are found by DNS, files come from volumes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic_settings import BaseSettings

from services.catalog import ports
from services.catalog.processes import SERVICES, Process
from services.ctl import tokens
from services.ctl.policy import GATEWAY, Policy
from services.ctl.render import authentication, certificate, gateway
from services.ctl.render.gateway import Transport
from services.ctl.render.pieces import DUMPER, LOADER
from services.ctl.render.transport import Credentials as Certificates
from services.ctl.servers.envoy import EnvoyServer
from services.ctl.servers.free import LOOPBACK
from services.ctl.settings import GatewaySettings
from services.ctl.supervisor.container import MeshSettings, proxy_unit, with_stats
from services.ctl.supervisor.door import Credentials
from services.ctl.supervisor.home import DEFAULT, Home, write_whole
from services.ctl.supervisor.unit import Unit
from services.kit.settings import ENVIRONMENT, OptionalPath

ADMIN = 9901


class DoorSettings(BaseSettings):
    """The gateway in a container. The environment name is the field's, in upper case."""

    model_config = ENVIRONMENT

    quantum_home: Path = DEFAULT
    """Where the issuer's keys lie, and what is rendered."""
    gateway_plain_host: str = LOOPBACK
    """Where the doors without TLS listen; 0.0.0.0 where ports of a container are published."""
    gateway_certificate: OptionalPath = None
    """Folder with `tls.crt` and `tls.key` of the TLS door; the local CA makes one when unset."""


@dataclass(frozen=True, slots=True)
class FrontDoor:
    """Renders the gateway and keeps its credentials fresh."""

    settings: DoorSettings
    mesh: MeshSettings
    gateway: GatewaySettings
    policy: Policy
    ports: Mapping[str, int]
    """Of `ingress`, `tls` and each service's health, by its key."""
    admin: int = ADMIN

    @property
    def home(self) -> Home:
        """Folder of the issuer and of what is rendered."""
        return Home(self.settings.quantum_home)

    def unit(self) -> Unit:
        """Return the Envoy, its configuration in place."""
        self.home.create()
        self.tend()
        bootstrap = gateway.render(
            self.home.envoy,
            self.ports,
            self.admin,
            policy=self.policy,
            settings=self.gateway,
            transport=self._transport(),
            tracing=self.mesh.tracing,
        )
        made = yaml.load(bootstrap.read_text(), LOADER)  # noqa: S506 - a safe one
        found_by_name(made["static_resources"], self.settings.gateway_plain_host)
        write_whole(bootstrap, yaml.dump(made, Dumper=DUMPER, sort_keys=False))
        with_stats(bootstrap, self.mesh)
        return proxy_unit(EnvoyServer(bootstrap=bootstrap, port=self.admin, name=GATEWAY))

    def tend(self) -> None:
        """Renew what ends soon and publish what changed; may block."""
        given = self.settings.gateway_certificate
        if given is None:
            Credentials(self.home, self.policy, self.gateway).tend()
            return
        issuer = tokens.Issuer(self.home, self.policy)
        authentication.write(self.home.envoy, self.policy, self.gateway, issuer.jwks())
        chain, key = ((given / name).read_text() for name in ("tls.crt", "tls.key"))
        held = certificate.folder(self.home.envoy) / "given.pem"
        if not held.exists() or held.read_text() != chain:
            certificate.write(self.home.envoy, chain, key)
            write_whole(held, chain, 0o600)

    def _transport(self) -> Transport | None:
        """Return how services are dialled: as the gateway, or in clear where a mesh is around."""
        if self.mesh.mesh_certificates is None:
            return None
        certificates = Certificates(self.mesh.mesh_certificates)

        def dial(service: Process) -> dict[str, Any]:
            return certificates.outbound(self.policy.spiffe(service.key), service.name)

        return dial


def found_by_name(resources: dict[str, Any], plain_host: str) -> None:
    """Have DNS tell the replicas, and plain doors listen at this host.

    A service's name leads to its replicas, `<name>-replicas` to those that are not ready too.
    """
    for listener in resources["listeners"]:
        address = listener["address"]["socket_address"]
        if "transport_socket" not in listener["filter_chains"][0]:
            address["address"] = plain_host
    hosts = {}
    for service in SERVICES:
        hosts[service.key] = service.name
        hosts[f"{service.key}-direct"] = f"{service.name}-replicas"
    for cluster in resources["clusters"]:
        if cluster["type"] == "EDS":
            name = cluster["name"]
            at = {"socket_address": {"address": hosts[name], "port_value": ports.GRPC}}
            cluster |= {
                "type": "STRICT_DNS",
                "dns_lookup_family": "V4_PREFERRED",
                "dns_refresh_rate": "2s",
                "load_assignment": {
                    "cluster_name": name,
                    "endpoints": [{"lb_endpoints": [{"endpoint": {"address": at}}]}],
                },
            }
            del cluster["eds_cluster_config"]
