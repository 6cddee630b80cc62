"""A container's sidecar: Envoy beside the one service that runs there.

The certificates come from another container (`qt certs keep`) as a folder; peers are found by DNS,
where every replica of a service has the service's name.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import yaml
from pydantic_settings import BaseSettings

from services.catalog import ports
from services.catalog.processes import SERVICES, Process, process
from services.ctl import policy
from services.ctl.render import stats
from services.ctl.render.address import UNIX
from services.ctl.render.pieces import DUMPER, LOADER
from services.ctl.render.sidecar import Dns, Sidecar, callees_of, render
from services.ctl.render.tracing import Tracing
from services.ctl.render.transport import Credentials
from services.ctl.servers.command import Command
from services.ctl.servers.envoy import EnvoyServer
from services.ctl.servers.free import LOOPBACK, free_port
from services.ctl.supervisor import sockets
from services.ctl.supervisor.home import Refused, write_whole
from services.ctl.supervisor.unit import Unit
from services.kit.settings import ENVIRONMENT, OptionalPath


class MeshSettings(BaseSettings):
    """A proxy in a container. The environment name is the field's, in upper case."""

    model_config = ENVIRONMENT

    mesh_certificates: OptionalPath = None
    """Folder with `identity.json` and `trust.json` of this service; no sidecar when unset."""
    mesh_listen: str = f"0.0.0.0:{ports.GRPC}"
    """Where peers connect to, host:port."""
    mesh_stats_listen: str = ""
    """Where Prometheus reads a proxy's counters, host:port; nowhere when empty."""
    otel_exporter_otlp_endpoint: str = ""
    """Where proxies write their spans (OTLP/gRPC); nowhere when empty."""

    @property
    def tracing(self) -> Tracing | None:
        """What proxies write; None when nothing. Refused: the address is none."""
        try:
            return Tracing.at(self.otel_exporter_otlp_endpoint)
        except ValueError as error:
            raise Refused(str(error)) from None


def behind_sidecar(service: Unit, settings: MeshSettings) -> list[Unit]:
    """Return the sidecar and the service behind it; the service alone when none is asked for.

    Refused: the service does not listen on a socket, where only its sidecar reaches it.
    """
    names = process(service.service)
    if settings.mesh_certificates is None or names not in SERVICES:
        return [service]
    if not service.address.startswith(UNIX):
        raise Refused(f"GRPC_ADDRESS={service.address}: behind a sidecar it must be unix:/path")
    folder = Path(service.address.removeprefix(UNIX)).parent
    sockets.create(folder)
    sidecar = _sidecar(service, names, settings, settings.mesh_certificates, folder)
    told = {**service.command.environment, "MESH_TARGET": _outbound(folder)}
    return [sidecar, replace(service, command=replace(service.command, environment=told))]


def _outbound(folder: Path) -> str:
    return f"{UNIX}{folder / 'out.sock'}"


def _sidecar(
    service: Unit, names: Process, settings: MeshSettings, certificates: Path, folder: Path
) -> Unit:
    table = policy.load()
    admin = free_port()
    bootstrap = render(
        folder / "sidecar.yaml",
        Sidecar(
            instance=service.name,
            process=names,
            service=service.address,
            inbound=settings.mesh_listen,
            outbound=_outbound(folder),
            admin=f"{LOOPBACK}:{admin}",
            credentials=Credentials(certificates),
            peers={
                callee: Dns(process(callee).name, ports.GRPC)
                for callee in callees_of(names.key, table)
            },
            tracing=settings.tracing,
        ),
        table,
    )
    with_stats(bootstrap, settings)
    return proxy_unit(EnvoyServer(bootstrap=bootstrap, port=admin, name=f"{service.name}.sidecar"))


def with_stats(bootstrap: Path, settings: MeshSettings) -> None:
    """Have the proxy of a bootstrap show its counters where the settings say."""
    made = yaml.load(bootstrap.read_text(), LOADER)  # noqa: S506 - a safe one
    stats.expose(made, settings.mesh_stats_listen)
    write_whole(bootstrap, yaml.dump(made, Dumper=DUMPER, sort_keys=False))


def proxy_unit(server: EnvoyServer) -> Unit:
    """Return an Envoy that writes to this container's own output."""
    command = server.command()
    return Unit(
        name=server.name,
        service=server.name,
        command=Command(arguments=command.arguments, log=None, directory=command.directory),
        live=server.probe,
        ready=server.probe,
        address=f"http://{LOOPBACK}:{server.port}",
        prepare=server.prepare,
        retire=server.drain,
    )
