"""analytics asks its peers by authority over one door, and forgives one miss."""

from __future__ import annotations

from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from services.analytics.peers import Peers


async def test_a_peer_is_silent_after_two_misses_and_again_heard_after_one_answer(
    tmp_path: Path,
) -> None:
    target = f"unix:{tmp_path}/door"
    peers = Peers(target, ["ai-service", "exec-risk-service"])
    await peers.ask()
    assert peers.silent == {}
    await peers.ask()
    assert set(peers.silent) == {"ai-service", "exec-risk-service"}
    assert peers.silent["ai-service"].startswith("does not answer calls (")
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(), server)
    server.add_insecure_port(target)
    await server.start()
    try:
        for channel in peers._channels.values():
            await channel.channel_ready()
        await peers.ask()
        assert peers.silent == {}
    finally:
        await peers.close()
        await server.stop(0)


async def test_without_a_mesh_nobody_is_asked() -> None:
    peers = Peers("", ["ai-service"])
    for _ in range(3):
        await peers.ask()
    assert peers.silent == {}
