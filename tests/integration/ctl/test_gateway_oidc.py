"""Tokens of an OIDC provider at the real gateway: found, checked, and its keys changed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from services.ctl.discovery import discovered
from services.ctl.supervisor.home import Refused
from tests.support.eventually import eventually
from tests.support.front_door import TABLE, FrontDoor, opened, settings
from tests.support.oidc_provider import AUDIENCE, Provider, provider

pytestmark = pytest.mark.asyncio(loop_scope="module")
RECONCILE = "/quantum.exec_risk.v1.ExecRiskService/Reconcile"
RESET = "/quantum.exec_risk.v1.ExecRiskService/ResetEmergency"
REST_OF_RECONCILE = "/v1/exec-risk/reconcile"
UNAUTHENTICATED, DENIED = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED
PASSED = grpc.StatusCode.UNIMPLEMENTED
"""What the stand-in behind the gateway answers."""


@dataclass
class Both:
    """A provider and a gateway that believes it."""

    provider: Provider
    door: FrontDoor

    async def code(self, token: str, path: str = RECONCILE, name: str = "tls") -> Any:
        """Call with a token and return the code."""
        async with self.door.channel(name) as channel:
            call: Any = channel.unary_unary(path)
            try:
                await call(b"", metadata=(("authorization", f"Bearer {token}"),), timeout=10)
            except grpc.aio.AioRpcError as error:
                return error.code()
        return grpc.StatusCode.OK

    async def answers(self, code: grpc.StatusCode, token: str) -> None:
        """Wait until a token is answered so: keys are kept for a second."""

        async def so() -> bool:
            return bool(await self.code(token) is code)

        await eventually(so, 15, interval=0.2)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def both(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Both]:
    folder = tmp_path_factory.mktemp("oidc")
    async with provider(folder / "provider", TABLE) as issuing:
        issuing.add("rsa", "RS256")
        issuing.add("ec", "ES256")
        chosen = settings(
            oidc_issuer=issuing.issuer,
            oidc_audience=AUDIENCE,
            oidc_role_claim="realm_access.roles",
            oidc_ca_file=str(issuing.ca_file),
            oidc_keys_seconds=1,
        )
        chosen = await asyncio.to_thread(discovered, chosen)
        async with opened(folder, chosen=chosen) as door:
            made = Both(issuing, door)
            await made.answers(PASSED, issuing.token("ec"))
            yield made


@pytest.mark.parametrize("kid", ["rsa", "ec"])
async def test_a_good_token_passes_at_both_doors_in_grpc_and_json(both: Both, kid: str) -> None:
    token = both.provider.token(kid)
    for name in ("tls", "ingress"):
        assert await both.code(token, name=name) is PASSED
        shown = {"Authorization": f"Bearer {token}"}
        status, _, text = await both.door.post(name, REST_OF_RECONCILE, {}, **shown)
        assert status == 501, text


async def test_its_roles_are_what_the_table_says(both: Both) -> None:
    """The claim is a list two levels deep; one of its roles must be enough for the method."""
    operator = both.provider.token("ec")
    assert await both.code(operator, RECONCILE) is PASSED
    assert await both.code(operator, RESET) is DENIED, "for an admin alone"
    for roles, code in ((["admin"], PASSED), ("admin", PASSED), (["owner"], DENIED), ([], DENIED)):
        token = both.provider.token("ec", realm_access={"roles": roles})
        assert await both.code(token, RESET) is code, roles
    assert await both.code(both.provider.token("ec", realm_access=None)) is DENIED
    assert await both.code(both.provider.token("ec", realm_access=None, role="admin")) is DENIED


async def test_a_token_that_is_not_good_is_refused(both: Both) -> None:
    now = int(time.time())
    issuing = both.provider
    strange = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    bad = {
        "of another issuer": (issuing.token("rsa", iss=issuing.issuer + "/"), UNAUTHENTICATED),
        "for another audience": (issuing.token("rsa", aud="elsewhere"), DENIED),
        "for nobody": (issuing.token("rsa", aud=None), DENIED),
        "expired": (issuing.token("rsa", iat=now - 900, exp=now - 300), UNAUTHENTICATED),
        "without an end": (issuing.token("ec", exp=None), UNAUTHENTICATED),
        "not valid yet": (issuing.token("ec", nbf=now + 300), UNAUTHENTICATED),
        "of a key that it does not have": (issuing.token("new", strange), UNAUTHENTICATED),
        "signed by another key": (issuing.token("rsa", strange), UNAUTHENTICATED),
        "signed in another way": (
            issuing.token("rsa", ec.generate_private_key(ec.SECP256R1())),
            UNAUTHENTICATED,
        ),
    }
    for name in ("tls", "ingress"):
        for kind, (token, code) in bad.items():
            assert await both.code(token, name=name) is code, f"{kind} at {name}"


async def test_our_own_issuer_counts_on_this_machine_alone(both: Both) -> None:
    own = both.door.token("operator")
    assert await both.code(own, name="ingress") is PASSED, "`qt` still works"
    assert await both.code(own, name="tls") is UNAUTHENTICATED


async def test_its_keys_change_while_calls_flow(both: Both) -> None:
    """The new key is published beside the old one, signs, and the old one goes."""
    issuing = both.provider
    old = issuing.token("rsa", sub="old")
    ended = asyncio.Event()
    codes: list[Any] = []

    async def caller() -> None:
        while not ended.is_set():
            codes.append(await both.code(issuing.token("ec")))
            await asyncio.sleep(0.02)

    calling = asyncio.create_task(caller())
    issuing.add("next", "RS256")
    await both.answers(PASSED, issuing.token("next"))
    dropped = issuing.keys.pop("rsa")
    await both.answers(UNAUTHENTICATED, old)
    ended.set()
    await calling
    assert len(codes) > 10 and set(codes) == {PASSED}
    assert await both.code(issuing.token("rsa", dropped)) is UNAUTHENTICATED
    assert await both.code(issuing.token("next")) is PASSED
    issuing.keys["rsa"] = dropped
    await both.answers(PASSED, old)


async def test_a_provider_that_is_away_costs_nobody_who_has_a_token(both: Both) -> None:
    """The keys that are known stay until it answers again."""
    issuing = both.provider
    asked, issuing.failing = issuing.asked, True
    try:
        await eventually(lambda: issuing.asked > asked + 1, 10)
        assert await both.code(issuing.token("ec")) is PASSED
        assert await both.code(issuing.token("rsa")) is PASSED
    finally:
        issuing.failing = False


async def test_who_calls_itself_otherwise_or_shows_no_good_certificate_is_not_believed(
    both: Both, tmp_path: Path
) -> None:
    held = both.door.credentials.settings.model_copy(update={"oidc_jwks_uri": ""})
    both.provider.issuer_told = "https://evil.example"
    try:
        with pytest.raises(Refused, match=r"calls itself 'https://evil\.example'"):
            await asyncio.to_thread(discovered, held)
    finally:
        both.provider.issuer_told = ""
    unknown = held.model_copy(update={"oidc_ca_file": ""})
    with pytest.raises(Refused, match="CERTIFICATE_VERIFY_FAILED"):
        await asyncio.to_thread(discovered, unknown)
    away = held.model_copy(update={"oidc_issuer": held.oidc_issuer + "/elsewhere"})
    with pytest.raises(Refused, match=r"answers 404.*set OIDC_JWKS_URI"):
        await asyncio.to_thread(discovered, away)
    async with provider(tmp_path / "p", TABLE, names=("other.example",)) as wrong:
        named = held.model_copy(
            update={"oidc_issuer": wrong.issuer, "oidc_ca_file": str(wrong.ca_file)}
        )
        with pytest.raises(Refused, match="CERTIFICATE_VERIFY_FAILED"):
            await asyncio.to_thread(discovered, named)


async def test_keys_are_taken_from_nobody_with_another_name_in_its_certificate(
    tmp_path: Path,
) -> None:
    async with provider(tmp_path / "provider", TABLE, names=("other.example",)) as wrong:
        wrong.add("ec", "ES256")
        chosen = settings(
            oidc_issuer=wrong.issuer,
            oidc_jwks_uri=wrong.jwks_uri,
            oidc_audience=AUDIENCE,
            oidc_role_claim="realm_access.roles",
            oidc_ca_file=str(wrong.ca_file),
            oidc_keys_seconds=1,
        )
        async with opened(tmp_path, chosen=chosen) as door:
            made = Both(wrong, door)

            async def refused() -> bool:
                counted = await door.stats(r"cluster\.oidc\.ssl\.fail_verify_san")
                return sum(counted.values()) > 0

            await eventually(refused, 15)
            assert await made.code(wrong.token("ec")) is UNAUTHENTICATED
            assert wrong.asked == 0
