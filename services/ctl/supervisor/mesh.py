"""The mesh on one machine: a sidecar beside each replica, certificates, sockets."""

from __future__ import annotations

from typing import Any

from services.catalog.processes import Process
from services.ctl import delivery, policy
from services.ctl.delivery import certificates_folder
from services.ctl.policy import GATEWAY
from services.ctl.render import endpoints
from services.ctl.render.address import UNIX
from services.ctl.render.sidecar import Sidecar, callees_of, render
from services.ctl.render.tracing import Tracing
from services.ctl.render.transport import Credentials
from services.ctl.servers.envoy import EnvoyServer
from services.ctl.supervisor import sockets
from services.ctl.supervisor.addresses import Addresses
from services.ctl.supervisor.home import Home


class Mesh:
    """What the topology asks when sidecars run."""

    def __init__(self, home: Home, addresses: Addresses, tracing: Tracing | None = None) -> None:
        """From now on the addresses of services are those of the mesh."""
        self._home = home
        self._tracing = tracing
        self._addresses = addresses
        self._policy = policy.load()
        self._sockets = sockets.folder(home)
        addresses.sockets = self._sockets
        self.certificates = delivery.of_home(home, self._policy)

    def prepare(self) -> None:
        """Make what proxies must find when they start; may block."""
        sockets.create(self._sockets)
        self.certificates.tend()

    def transport(self, process: Process) -> dict[str, Any]:
        """Return how the gateway dials the replicas of a service."""
        credentials = Credentials(certificates_folder(self._home) / GATEWAY)
        return credentials.outbound(self._policy.spiffe(process.key), process.name)

    def environment(self, process: Process, instance: str) -> dict[str, str]:
        """Return the settings of a service behind its sidecar."""
        settings = {"GRPC_ADDRESS": self._addresses.direct(instance, process.key)}
        if callees_of(process.key, self._policy):
            settings["MESH_TARGET"] = self._outbound(instance)
        return settings

    def sidecar(self, process: Process, instance: str) -> EnvoyServer:
        """Return the sidecar of a replica, its bootstrap rendered."""
        eds = endpoints.folder(self._home.envoy)
        admin = f"{instance}.admin"
        bootstrap = render(
            self._home.run / "mesh" / f"{instance}.yaml",
            Sidecar(
                instance=instance,
                process=process,
                service=self._addresses.direct(instance, process.key),
                inbound=self._addresses.at(f"{instance}.mesh"),
                outbound=self._outbound(instance),
                admin=self._addresses.at(admin),
                credentials=Credentials(certificates_folder(self._home) / process.key),
                tracing=self._tracing,
                peers=dict.fromkeys(callees_of(process.key, self._policy), eds),
            ),
            self._policy,
        )
        return EnvoyServer(
            bootstrap=bootstrap,
            port=self._addresses.port(admin),
            log=self._home.logs / f"{instance}.sidecar.log",
            name=f"{instance}.sidecar",
        )

    def _outbound(self, instance: str) -> str:
        return f"{UNIX}{self._sockets / instance}.out"
