"""Tokens of the local issuer: what they say, how keys rotate, how the operator's is renewed."""

from __future__ import annotations

import stat
import tempfile
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ctl import policy, tokens
from services.ctl.supervisor.home import Home, Refused
from services.ctl.token_channel import ROLE_CHECK, token_channel

TABLE = policy.load()


class Clock:
    """Unix seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def issuer(folder: Path, clock: Clock) -> tokens.Issuer:
    return tokens.Issuer(Home(folder), TABLE, clock)


def accepted(made: tokens.Issuer, token: str) -> bool:
    """Tell whether a published key verifies the token, as the gateway would."""
    keys = jwt.PyJWKSet.from_dict(made.jwks())
    kid = jwt.get_unverified_header(token)["kid"]
    found = [key for key in keys.keys if key.key_id == kid]
    if not found:
        return False
    jwt.decode(
        token,
        found[0],
        ["ES256"],
        audience=tokens.AUDIENCE,
        issuer=tokens.ISSUER,
        options={"verify_exp": False, "verify_iat": False},
    )
    return True


def test_a_token_says_who_what_and_until_when(tmp_path: Path) -> None:
    clock = Clock()
    told = tokens.claims(issuer(tmp_path, clock).issue("trader", 3600, "alice"))
    assert (told["sub"], told["role"], told["aud"]) == ("alice", "trader", tokens.AUDIENCE)
    assert told["exp"] - told["iat"] == 3600 and told["iat"] == int(clock.now)


@pytest.mark.parametrize(
    ("role", "seconds", "line"),
    [("owner", 60, "no role 'owner'"), ("admin", 0, "lives from"), ("admin", 86_401, "lives from")],
)
def test_nonsense_is_refused(tmp_path: Path, role: str, seconds: float, line: str) -> None:
    with pytest.raises(Refused, match=line):
        issuer(tmp_path, Clock()).issue(role, seconds, "x")


def test_what_is_secret_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    made = issuer(tmp_path, Clock())
    tokens.renew(Home(tmp_path), made, "admin", Clock())
    for file in (tmp_path / "issuer" / "keys.json", tmp_path / "token"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "issuer").stat().st_mode) == 0o700
    for key in made.jwks()["keys"]:
        assert "d" not in key, "the private part stays here"


Steps = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.floats(0.1, 50_000)),
        st.tuples(st.just("issue"), st.floats(1, tokens.LONGEST_SECONDS)),
        st.tuples(st.just("rotate"), st.just(0.0)),
    ),
    max_size=25,
)


@given(steps=Steps)
def test_no_living_token_is_refused_and_no_key_signs_before_it_is_known(
    steps: list[tuple[str, float]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        clock = Clock()
        made = issuer(Path(folder), clock)
        living: list[tuple[float, str]] = []
        published: dict[str, float] = {key.kid: 0.0 for key in made.accepted()}
        for what, amount in steps:
            if what == "wait":
                clock.now += amount
            elif what == "rotate":
                published[made.rotate().kid] = clock.now
            else:
                token = made.issue("viewer", amount, "x")
                living.append((clock.now + amount, token))
                known = published[tokens.claims(token)["kid"]]
                assert clock.now - known >= tokens.LEAD_SECONDS
            living = [(end, token) for end, token in living if end >= clock.now]
            assert all(accepted(made, token) for _, token in living)
        clock.now += 2 * tokens.LONGEST_SECONDS
        assert len(made.accepted()) == 1, "keys without living tokens are gone"


def test_revoking_refuses_every_token_so_far(tmp_path: Path) -> None:
    made = issuer(tmp_path, Clock())
    token = made.issue("admin", 600, "x")
    made.rotate(revoke=True)
    assert not accepted(made, token)
    assert accepted(made, made.issue("admin", 600, "x"))


def test_the_operators_token_is_renewed_at_half_its_life_and_when_its_key_is_gone(
    tmp_path: Path,
) -> None:
    clock = Clock()
    home, made = Home(tmp_path), issuer(tmp_path, clock)
    assert tokens.renew(home, made, "admin", clock)
    assert not tokens.renew(home, made, "admin", clock)
    clock.now += tokens.OPERATOR_SECONDS / 2 + 1
    assert tokens.renew(home, made, "admin", clock)
    made.rotate(revoke=True)
    assert tokens.renew(home, made, "admin", clock)
    tokens.token_file(home).write_text("rubbish")
    assert tokens.renew(home, made, "admin", clock)
    assert tokens.claims(tokens.read_token(home))["role"] == "admin"


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("1d", 86_400)])
def test_spans(text: str, seconds: int) -> None:
    assert tokens.seconds_of(text) == seconds
    with pytest.raises(Refused, match="say a number and s, m, h or d"):
        tokens.seconds_of(text[:-1])


METHOD = "/quantum.exec_risk.v1.ExecRiskService/ResetEmergency"


async def refusal(home: Home, code: grpc.StatusCode, details: str) -> str:
    """Return the line that a caller of a gateway sees that answers so."""

    async def refuse(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        await context.abort(code, details)

    handler = grpc.method_handlers_generic_handler(
        "quantum.exec_risk.v1.ExecRiskService",
        {"ResetEmergency": grpc.unary_unary_rpc_method_handler(refuse)},
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with token_channel(home, f"127.0.0.1:{port}") as channel:
            call: Any = channel.unary_unary(METHOD)
            with pytest.raises(Refused) as refused:
                await call(b"")
        return str(refused.value)
    finally:
        await server.stop(None)


async def test_a_refused_caller_is_told_what_to_do(tmp_path: Path) -> None:
    home, clock = Home(tmp_path), Clock()
    unknown = grpc.StatusCode.UNAUTHENTICATED
    assert "holds none: `qt up`" in await refusal(home, unknown, "Jwt is missing")
    clock.now = 1_000_000.0
    tokens.token_file(home).write_text(issuer(tmp_path, clock).issue("admin", 60, "x"))
    assert "`qt up` renews it" in await refusal(home, unknown, "Jwt is expired")
    clock.now = 99_000_000_000.0
    tokens.token_file(home).write_text(issuer(tmp_path, clock).issue("viewer", 60, "x"))
    told = await refusal(home, unknown, "Jwt verification fails")
    assert "does not take the token" in told and "Jwt verification fails" in told
    told = await refusal(home, grpc.StatusCode.PERMISSION_DENIED, ROLE_CHECK)
    assert "ResetEmergency takes the role admin" in told and "has the role viewer" in told
