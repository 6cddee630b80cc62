"""Nothing that a failing request emits holds the key, the secret, a signature or a listen key."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Iterator
from dataclasses import replace

import pytest

from services.exec_risk.exchange.binance import BinanceExchange
from services.exec_risk.exchange.requests import ExchangeRefused, ExchangeUnavailable
from services.exec_risk.exchange.secrets import Redactor
from services.kit.clock import SystemClock
from tests.integration.exchange.scripted_exchange import (
    Handler,
    cut_off,
    half_an_answer,
    scripted,
)
from tests.integration.exchange.test_exchange_outcomes import (
    ENTRY,
    now_ms,
    saying,
    settings,
    slowly,
)
from tests.integration.exchange.test_exchange_sockets import listening
from tests.support.eventually import eventually

KEY, SECRET = "thekeythatnobodysees", "thesecretthatnobodysees"
ANY_SIGNATURE = re.compile(r"signature['\"]?\s*[=:]\s*['\"]?[0-9a-f]{16}")


@pytest.fixture
def everything(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Every logger of the process, the libraries' too, at DEBUG."""
    names = ["", "ccxt", "ccxt.base.exchange", "aiohttp", "aiohttp.client", "asyncio"]
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
    with caplog.at_level(logging.DEBUG):
        yield caplog
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


FAILURES: list[Handler] = [
    cut_off,
    half_an_answer,
    slowly,
    saying("<html>bad gateway</html>", 502, "text/html"),
    saying("not json at all"),
    saying('{"code":-1022,"msg":"Signature for this request is not valid."}', 400),
    saying('{"code":-2015,"msg":"Invalid API-key"}', 401),
    saying('{"code":-1003,"msg":"Too many requests"}', 429),
]


@pytest.mark.parametrize("failure", FAILURES)
async def test_a_failing_request_tells_no_secret(
    failure: Handler, everything: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Incident 113: logs at DEBUG, exceptions with all their causes, outcomes, reprs."""
    async with scripted() as server:
        made = replace(settings(server.url), api_key=KEY, api_secret=SECRET)
        exchange = BinanceExchange(made, SystemClock())
        said = [repr(made), repr(exchange), repr(exchange._client), repr(exchange._requests)]
        try:
            for method, path in (("POST", "order"), ("GET", "order"), ("DELETE", "order")):
                server.script[method, path] = failure
            said.append(repr(await exchange.place(ENTRY, signed_at=now_ms())))
            said.append(repr(await exchange.cancel(ENTRY, signed_at=now_ms())))
            try:
                await exchange.find(ENTRY)
            except (ExchangeRefused, ExchangeUnavailable) as error:
                said += [repr(error), *traceback.format_exception(error)]
            await server.stop()
            said.append(repr(await exchange.place(ENTRY, signed_at=now_ms())))
        finally:
            await exchange.close()
        sent = [params["signature"] for _, _, params in server.asked if "signature" in params]
        assert sent
        captured = capsys.readouterr()
        text = "\n".join([*said, everything.text, captured.out, captured.err])
        assert text
        for hidden in (KEY, SECRET, *sent):
            assert hidden not in text
        assert not ANY_SIGNATURE.search(text)


async def test_a_lost_user_stream_tells_no_listen_key(
    everything: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """ccxt names the socket's address when it dies, and that address is the key to the stream."""
    async with scripted() as server, listening(server) as listener:
        keys = server.listen_keys
        server.mute.add("user")
        for socket in list(server.sockets["user"]):
            await socket.close(code=1001)
        # the new socket answers no ping, so it is given up with ccxt's own words
        await eventually(lambda: server.listen_keys >= keys + 2, 15)
        captured = capsys.readouterr()
        told = "\n".join([everything.text, captured.out, *map(repr, listener.events)])
        assert "ping-pong" in told
        assert "listenKey=***" in told
        assert not re.search(r"listenKey=key\d", told)


def test_a_cause_that_cannot_be_cleaned_is_cut_off() -> None:
    class Told(Exception):
        def __str__(self) -> str:
            return f"with {SECRET}"

    outer = ValueError(f"GET /x?a=1&signature=0123456789abcdef by {KEY}")
    outer.__cause__ = Told()
    inner = KeyError("fine")
    outer.__context__ = inner
    cleaned = Redactor(SECRET, KEY).error(outer)
    assert str(cleaned) == "GET /x?a=1&signature=*** by ***"
    assert cleaned.__cause__ is None
    assert cleaned.__context__ is inner
    assert SECRET not in repr(Redactor(SECRET))
