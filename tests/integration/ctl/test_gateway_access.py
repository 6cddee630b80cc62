"""Who may pass the real gateway: tokens, roles, limits, and tricks that must not help."""

from __future__ import annotations

import asyncio
import io
import itertools
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import grpc
import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import ec
from jsonschema import Draft202012Validator
from quantum.ai.v1 import ai_service_pb2
from yarl import URL

from services.catalog.processes import SERVICES
from services.ctl import tokens
from services.ctl.render import descriptor, openapi
from services.ctl.render.authentication import OPENAPI_PATH
from tests.support.eventually import eventually
from tests.support.front_door import TABLE, FrontDoor, opened, settings

pytestmark = pytest.mark.asyncio(loop_scope="module")
RATE = 40
WEB = {"content-type": "application/grpc-web+proto"}
RECONCILE = "/quantum.exec_risk.v1.ExecRiskService/Reconcile"
REST_OF_RECONCILE = "/v1/exec-risk/reconcile"
MODELS = "/quantum.ai.v1.AiService/ListModels"
REFUSED = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
_subjects = itertools.count()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FrontDoor]:
    """One gateway for all tests; each test is a client of its own."""
    chosen = settings(gateway_calls_per_second=RATE)
    async with opened(tmp_path_factory.mktemp("access"), chosen=chosen) as door:
        yield door


def bearer(door: FrontDoor, role: str) -> dict[str, str]:
    return {"authorization": f"Bearer {door.token(role, subject=f'client {next(_subjects)}')}"}


async def code_of(channel: grpc.aio.Channel, path: str, headers: dict[str, str]) -> Any:
    """Call without a message and return the code."""
    call: Any = channel.unary_unary(path)
    try:
        await call(b"", metadata=tuple(headers.items()), timeout=10)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def bad_tokens(door: FrontDoor) -> dict[str, tuple[str, int]]:
    """Return tokens that must not pass, each with the gRPC code it must get."""
    signer = door.issuer.accepted()[0]
    now = int(time.time())
    good = {
        "iss": tokens.ISSUER,
        "aud": tokens.AUDIENCE,
        "sub": "mallory",
        "role": "admin",
        "iat": now,
        "exp": now + 600,
    }
    own = {"kid": signer.kid}
    other = ec.generate_private_key(ec.SECP256R1())

    def signed(headers: dict[str, str] = own, **changed: Any) -> str:
        held = {k: v for k, v in (good | changed).items() if v is not None}
        return jwt.encode(held, signer.pem, "ES256", headers=headers)

    nobody = jwt.encode(good, "", "none", headers=own)
    head, body, _ = signed().split(".")
    return {
        "expired": (signed(iat=now - 900, exp=now - 300), 16),
        "without an end": (signed(exp=None), 16),
        "living too long": (signed(exp=now + 10 * 86_400), 16),
        "of another issuer": (signed(iss="someone"), 16),
        "for another audience": (signed(aud="elsewhere"), 7),
        "of an unknown key": (signed(headers={"kid": "unknown"}), 16),
        "signed by another key": (jwt.encode(good, other, "ES256", headers=own), 16),
        "alg none": (nobody, 16),
        "without a signature": (f"{head}.{body}.", 16),
        "HS256 with the public key": (_confused(good, signer), 16),
        "rubbish": ("rubbish", 16),
        "with a list of roles": (signed(role=["admin"]), 7),
        "without a role": (signed(role=None), 7),
        "with an unknown role": (signed(role="owner"), 7),
        "of a small role": (signed(role="viewer"), 7),
    }


def _confused(good: dict[str, Any], signer: tokens.Key) -> str:
    return jwt.encode(good, str(signer.public()["x"]), "HS256", headers={"kid": signer.kid})


@pytest.mark.parametrize("name", ["ingress", "tls"])
async def test_a_token_that_is_not_good_is_refused_in_every_protocol(
    door: FrontDoor, name: str
) -> None:
    async with door.channel(name) as channel, door.session() as session:
        for kind, (token, code) in bad_tokens(door).items():
            shown = {"authorization": f"Bearer {token}"}
            found = await code_of(channel, RECONCILE, shown)
            assert found.value[0] == code, kind
            web = {**WEB, **shown}
            async with session.post(door.url(name, RECONCILE), data=bytes(5), headers=web) as told:
                body = await told.read()
                assert f"grpc-status:{code}".encode() in body or (
                    told.headers.get("grpc-status") == str(code)
                ), kind
            url = door.url(name, REST_OF_RECONCILE)
            async with session.post(url, json={}, headers=shown) as told:
                assert told.status == {16: 401, 7: 403}[code], kind
                assert (await told.json())["code"] == code, kind


async def test_without_a_token_only_what_is_open_passes(door: FrontDoor) -> None:
    assert (await door.get("ingress", "/v1/ai/health"))[0] == 200
    assert (await door.get("tls", "/v1/ai/health"))[0] == 200
    assert (await door.get("ingress", "/v1/ai/models"))[0] == 501, "reaches the stand-in"
    assert (await door.get("tls", "/v1/ai/models"))[0] == 401
    assert (await door.post("ingress", REST_OF_RECONCILE, {}))[0] == 401
    token = door.token("admin")
    assert (await door.get("tls", f"/v1/ai/models?access_token={token}"))[0] == 401
    assert (await door.get("ingress", "/v1/ai/health", Authorization="Bearer x"))[0] == 401


async def test_every_role_reaches_what_the_table_says_and_nothing_else(door: FrontDoor) -> None:
    """Every method of the contracts, every role and no role, at both doors."""
    methods = [
        (service.grpc_service, method, kind)
        for service in SERVICES
        for method, kind in descriptor.kinds(service.grpc_service).items()
    ]
    seen = 0
    for name, side in (("ingress", "loopback"), ("tls", "tls")):
        async with door.channel(name) as channel:
            for service, method, kind in methods:
                for role in ("", *TABLE.roles):
                    needed = TABLE.needs_token(service, method, side)  # type: ignore[arg-type]
                    may = not needed or role in TABLE.roles_for(service, method)
                    shown = bearer(door, role) if role else {}
                    if not role:
                        await asyncio.sleep(1 / RATE)  # nobody is one client
                    found = await _answer(channel, f"/{service}/{method}", kind, shown)
                    assert (found not in REFUSED) is may, f"{role or 'nobody'}: {method}"
                    seen += 1
    assert seen == 2 * len(methods) * (1 + len(TABLE.roles))


async def _answer(channel: grpc.aio.Channel, path: str, kind: str, shown: dict[str, str]) -> Any:
    if kind != "stream":
        return await code_of(channel, path, shown)
    call: Any = channel.unary_stream(path)
    stream = call(b"", metadata=tuple(shown.items()), timeout=10)
    try:
        async for _ in stream:
            break
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


GRPC_REFUSALS = ("7", "12", "13", "16")
TRICKS = [
    "//v1/exec-risk/reconcile",
    "/v1//exec-risk/reconcile",
    "/v1/ai/../exec-risk/reconcile",
    "/v1/%65xec-risk/reconcile",
    "/v1/exec-risk%2freconcile",
    "/v1/exec-risk/./reconcile",
    "/v1/exec-risk/reconcile/",
    "/v1/exec-risk/reconcile;x=1",
    "/v1/exec-risk/reconcile%00",
    "/v1/exec-risk/RECONCILE",
    "/v1/ai/health/..%2f..%2fexec-risk/reconcile",
    "/v1\\exec-risk\\reconcile",
    "/grpc.health.v1.Health/../quantum.exec_risk.v1.ExecRiskService/Reconcile",
    "/quantum.exec_risk.v1.ExecRiskService//Reconcile",
    "/quantum.exec_risk.v1.ExecRiskService/Reconcile?x",
]


@pytest.mark.parametrize("content", ["application/json", "application/grpc", WEB["content-type"]])
async def test_no_spelling_of_a_path_passes_the_role_check(door: FrontDoor, content: str) -> None:
    async with door.session() as session:
        for trick in TRICKS:
            for shown in ({}, bearer(door, "viewer")):
                await asyncio.sleep(1 / RATE)
                url = URL(door.url("ingress", "") + trick, encoded=True)
                headers = {"content-type": content, **shown}
                async with session.post(url, data=b"{}", headers=headers) as told:
                    await told.read()
                    what = f"{trick}: {told.status} {dict(told.headers)}"
                    assert "x-envoy-upstream-service-time" not in told.headers, what
                    status = told.headers.get("grpc-status", "")
                    assert told.status in (307, 400, 401, 403, 404) or status in GRPC_REFUSALS, what


async def test_a_client_that_calls_too_often_is_told_when_to_try_again(door: FrontDoor) -> None:
    """Requests beyond the burst are RESOURCE_EXHAUSTED or 429; another client is not touched."""
    shown = bearer(door, "viewer")
    async with door.channel("tls") as channel, door.session() as session:
        codes = await asyncio.gather(*(code_of(channel, MODELS, shown) for _ in range(4 * RATE)))
        assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) >= RATE / 2
        assert set(codes) == {
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            grpc.StatusCode.UNIMPLEMENTED,
        }
        url = door.url("tls", "/v1/ai/models")
        statuses = []
        for _ in range(3 * RATE):
            async with session.get(url, headers=shown) as told:
                statuses.append(told.status)
                if told.status == 429:
                    assert told.headers["retry-after"] == "1"
        assert 429 in statuses
        assert await code_of(channel, MODELS, bearer(door, "viewer")) not in (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
        )


async def test_what_is_too_large_or_too_slow_is_refused(door: FrontDoor) -> None:
    large = b"x" * (door.credentials.settings.gateway_request_bytes + 1)
    shown = bearer(door, "admin")
    async with door.session() as session, door.channel("ingress") as channel:
        url = door.url("ingress", REST_OF_RECONCILE)
        async with session.post(url, data=io.BytesIO(large), headers=shown) as told:
            assert told.status == 413
        headers = {f"x-large-{number}": "y" * 2_000 for number in range(10)}
        async with session.get(door.url("ingress", "/v1/ai/health"), headers=headers) as told:
            assert told.status == 431
        call: Any = channel.unary_unary(RECONCILE)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            message = b"\x0a\x81\x80\x40" + large
            await call(message, metadata=tuple(shown.items()), timeout=10)
        assert refused.value.details() == "request too long"
        hanging = door.folder / "ai.hang"
        hanging.touch()
        await asyncio.sleep(0.2)  # the stand-in looks at its switches every 50 ms
        slow: Any = channel.unary_unary(MODELS)
        try:
            with pytest.raises(grpc.aio.AioRpcError) as late:
                await slow(b"", timeout=0.4)
            assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        finally:
            hanging.unlink()

        async def back() -> bool:
            return (await door.get("ingress", "/v1/ai/ready", **bearer(door, "viewer")))[0] == 200

        await eventually(back, 20, interval=0.2)


async def test_a_page_of_this_machine_may_call_and_another_may_not(door: FrontDoor) -> None:
    asks = {"Access-Control-Request-Method": "GET"}
    async with door.session() as session:
        for path in ("/v1/ai/models", MODELS):
            for origin, may in (("http://localhost:3000", True), ("https://evil.example", False)):
                url = door.url("tls", path)
                headers = {**asks, "Origin": origin}
                async with session.options(url, headers=headers) as told:
                    allowed = told.headers.get("Access-Control-Allow-Origin")
                    assert allowed == (origin if may else None), path
        url = door.url("ingress", "/v1/ai/health")
        async with session.get(url, headers={"Origin": "http://localhost:3000"}) as told:
            assert told.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
        async with session.get(url, headers={"Host": "evil.example"}) as told:
            assert told.status == 404, "a name of someone else that leads here"


async def test_keys_rotate_under_load_without_a_refused_call(door: FrontDoor) -> None:
    stop = asyncio.Event()
    codes: list[Any] = []
    failures: list[str] = []

    async def tend() -> None:
        while not stop.is_set():
            await asyncio.to_thread(door.credentials.tend)
            await asyncio.sleep(0.5)

    async def call(channel: grpc.aio.Channel, number: int) -> None:
        while not stop.is_set():
            shown = f"Bearer {door.token('viewer', 60, f'load {number} {int(time.time())}')}"
            code = await code_of(channel, MODELS, {"authorization": shown})
            codes.append(code)
            if code is not grpc.StatusCode.UNIMPLEMENTED:
                failures.append(f"{code} {tokens.claims(shown.removeprefix('Bearer '))}")
            await asyncio.sleep(0.02)

    first = door.issuer.accepted()[-1].kid
    async with door.channel("tls") as channel:
        running = [
            asyncio.create_task(one) for one in (tend(), *(call(channel, n) for n in (1, 2)))
        ]
        for _ in range(3):
            door.issuer.rotate()
            await asyncio.sleep(tokens.LEAD_SECONDS + 0.5)
        stop.set()
        await asyncio.gather(*running)
        assert not failures and len(codes) > 20
        last = tokens.claims(door.token("viewer"))["kid"]
        assert last != first, "the new key signs"
        old = door.token("viewer", subject="revoked")
        door.issuer.rotate(revoke=True)
        door.credentials.tend()

        async def refused() -> bool:
            shown = {"authorization": f"Bearer {old}"}
            return await code_of(channel, MODELS, shown) is grpc.StatusCode.UNAUTHENTICATED

        await eventually(refused, 5)


async def test_the_document_is_served_and_the_answers_are_as_it_says(door: FrontDoor) -> None:
    status, text = await door.get("ingress", OPENAPI_PATH, **bearer(door, "viewer"))
    assert status == 200 and text == openapi.FILE.read_text()
    assert (await door.get("tls", OPENAPI_PATH))[0] == 401
    async with door.session() as session:
        for path in ("/v1/ai/health", "/v1/exec-risk/health", "/v1/analytics/health"):
            async with session.get(door.url("ingress", path)) as told:
                _valid(path, "get", "200", await told.json())
        async with session.get(door.url("tls", "/v1/ai/models")) as told:
            _valid("/v1/ai/models", "get", "401", await told.json())


def _valid(path: str, verb: str, status: str, answer: Any) -> None:
    document = openapi.document()
    responses = document["paths"][path][verb]["responses"]
    refusals = document["components"]["responses"]
    answered = responses["200"] if status == "200" else refusals[status]
    schema = answered["content"]["application/json"]["schema"]
    whole = {**schema, "components": document["components"]}
    Draft202012Validator(whole).validate(answer)
    if status == "200":
        name = schema["$ref"].rpartition("/")[2]
        known = document["components"]["schemas"][name]["properties"]
        assert set(answer) <= set(known), f"{path} answers what is not in the document"


async def test_the_log_says_who_called_what_and_a_forged_name_is_dropped(door: FrontDoor) -> None:
    subject = f"alice {next(_subjects)}"
    token = door.token("trader", subject=subject)
    shown = {"authorization": f"Bearer {token}"}
    await door.get("tls", "/v1/ai/models?symbol=secret", **shown)
    await door.get("ingress", "/v1/ai/predictions", **{"x-token-subject": "forged"})

    def told() -> bool:
        lines = [line for line in door.log() if line["event"] == "call"]
        found = [line for line in lines if line["subject"] == subject]
        assert len(found) == 1, "one call, one line"
        [mine] = found
        assert (mine["role"], mine["listener"]) == ("trader", "tls")
        assert mine["path"] == "/v1/ai/models"
        text = door.server.log.read_text()
        return "forged" not in text and "secret" not in text and token not in text

    await eventually(told, 5)


async def test_a_handshake_that_failed_is_logged(door: FrontDoor) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError):
            await session.get(f"http://localhost:{door.ports['tls']}/")
    await eventually(lambda: [x for x in door.log() if x["event"] == "connection_refused"], 5)


async def test_health_is_open_at_both_doors(door: FrontDoor) -> None:
    for name in ("ingress", "tls"):
        async with door.channel(name) as channel:
            call: Any = channel.unary_unary(
                "/quantum.ai.v1.AiService/GetHealth",
                response_deserializer=ai_service_pb2.GetHealthResponse.FromString,
            )
            assert (await call(b"", timeout=5)).status == "healthy"
