"""Candles in, answers out, by real replicas as processes on a real NATS server."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from functools import partial
from pathlib import Path

from quantum.ai.v1 import signal_pb2

from services.ai.artifact import active_folder, load
from services.ai.core.answers import Policy, answer, ask
from services.ai.core.ensemble import make_gate
from services.ai.core.windows import Windows
from services.ai.inference import predict
from services.ai.settings import SHIPPED_MODELS
from services.catalog import subjects
from services.kit.bus.bus import Bus, Delivery
from services.trade.candle import Candle
from services.trade.ids import signal_id, trace_id
from services.trade.times import DAY_MS
from tests.integration.ai.candle_bus import VENUE, Answers, market, outgoing, publish_history
from tests.integration.ai.replicas import Replica, StartReplica
from tests.support.eventually import eventually

SYMBOLS = ("AAAUSDT", "BBBUSDT", "CCCUSDT", "DDDUSDT")
HISTORY = 140


def rounds(count: int) -> tuple[list[Candle], list[list[Candle]]]:
    """Return (history, live rounds) of all symbols."""
    series = [market(symbol, HISTORY + count) for symbol in SYMBOLS]
    history = [candle for one in series for candle in one[:HISTORY]]
    live = [[one[HISTORY + number] for one in series] for number in range(count)]
    return history, live


def expected_predictions(history: list[Candle], live: list[Candle]) -> dict[str, str]:
    """Return action by candle key, decided by the core alone."""
    model = load(active_folder(SHIPPED_MODELS))
    policy = Policy(make_gate(model.manifest, 0.8, None), DAY_MS)
    windows = Windows()
    for candle in history + live:
        windows.insert(candle)
    rounds = [ask([candle], windows, model.manifest, policy) for candle in live]
    outputs = predict(model.session, [asked.windows for asked in rounds])
    questions = [question for asked in rounds for question in asked.questions]
    found = answer(questions, outputs, model.manifest, policy)
    return {a.prediction.candle.key: a.prediction.action.value for a in found}


async def test_two_replicas_share_the_work_and_one_dies(
    bus: Bus, answers: Answers, start_replica: StartReplica
) -> None:
    history, live = rounds(60)
    flat = [candle for one in live for candle in one]
    await publish_history(bus, history)
    # Every replica has to be warm before a kill can be in the middle of something.
    first, second = [
        await start_replica(SIGNAL_SHARE="0.8", SIGNAL_TTL_SECONDS="86400") for _ in range(2)
    ]
    await first.becomes_ready()
    await second.becomes_ready()
    for number, one in enumerate(live):
        await bus.publish_all([outgoing(*one)])
        if number == 30:
            await first.kill()
        await asyncio.sleep(0.01)
    await eventually(lambda: answers.has_all(flat), deadline=30)

    expected = expected_predictions(history, flat)
    for candle in flat:
        told = answers.by_candle[candle.symbol, candle.open_time]
        # A redelivery repeats the answer; it never gives another one.
        assert len({p.SerializeToString(deterministic=True) for p in told}) == 1
        assert signal_pb2.Action.Name(told[0].action) == f"ACTION_{expected[candle.key]}"
    assert not [key for key in answers.by_candle if key[1] < live[0][0].open_time]
    wanted = {k for k, action in expected.items() if action != "HOLD"}
    assert len({s.signal_id for _, s in answers.signals}) == len(wanted) > 10
    assert len(answers.signals) == len(wanted)


async def test_replicas_come_and_go_under_load_and_every_candle_is_answered_once(
    bus: Bus, answers: Answers, start_replica: StartReplica
) -> None:
    """Incident 61: nothing of a backlog is lost or answered twice in another way."""
    history, live = rounds(120)
    flat = [candle for one in live for candle in one]
    await publish_history(bus, history)
    running = [await start_replica(SIGNAL_TTL_SECONDS="86400")]
    await running[0].becomes_ready()
    arriving: list[asyncio.Task[Replica]] = []
    for number, one in enumerate(live):
        await bus.publish_all([outgoing(*one)])
        if number in (10, 50):
            arriving.append(asyncio.create_task(start_replica(SIGNAL_TTL_SECONDS="86400")))
        if number == 30:
            await running.pop(0).kill()
        await asyncio.sleep(0.05)
    await (await arriving[0]).kill()
    await (await arriving[1]).becomes_ready()
    await eventually(lambda: answers.has_all(flat), deadline=60)
    assert set(answers.by_candle) == {(c.symbol, c.open_time) for c in flat}
    for told in answers.by_candle.values():
        assert len({p.SerializeToString(deterministic=True) for p in told}) == 1


async def test_one_candle_of_next_year_does_not_make_the_others_stale(
    bus: Bus, answers: Answers, start_replica: StartReplica
) -> None:
    """What is alone in the future is counted, answered with hold, and moves nothing."""
    series = market("KKKUSDT", 140)
    await publish_history(bus, series[:130])
    await (await start_replica(SIGNAL_SHARE="1")).becomes_ready()
    wrong = market("ZZZUSDT", 1, start=series[-1].close_time + 365 * DAY_MS)
    live = [*series[130:135], *wrong, *series[135:]]
    for candle in live:
        await bus.publish_all([outgoing(candle)])
        # one by one: the first of a backlog of ten minutes are stale with good reason
        await eventually(partial(answers.has_all, [candle]))
    reasons = {
        candle.key: answers.by_candle[candle.symbol, candle.open_time][0].hold_reason
        for candle in live
    }
    assert reasons.pop(wrong[0].key) == "not_warm"
    assert not {"stale", "not_warm"} & set(reasons.values())


async def test_a_signal_carries_what_the_executor_needs(
    bus: Bus, answers: Answers, start_replica: StartReplica
) -> None:
    history, live = rounds(5)
    await publish_history(bus, history)
    replica = await start_replica(SIGNAL_SHARE="1")
    await replica.becomes_ready()
    for one in live:
        await bus.publish_all([outgoing(*one)])
    await eventually(lambda: answers.has_all([c for one in live for c in one]))
    await eventually(lambda: answers.signals)
    candles = {c.key: c for one in live for c in one}
    for message, signal in answers.signals:
        opened = signal.candle_open_time.seconds * 1000
        candle = candles[f"{VENUE}.{signal.symbol}.1m.{opened}"]
        assert message.message_id == signal.signal_id
        assert signal.signal_id == signal_id(VENUE, signal.symbol, "1m", opened)
        assert message.trace_id == trace_id(candle.key)
        assert message.market_time == candle.close_time
        assert Decimal(signal.price) == candle.close
        assert signal.expires_at.seconds * 1000 == candle.close_time + 300_000
        assert 0 < signal.confidence <= 1
        assert signal.atr_fraction > 0
        assert signal.ensemble_agreement >= 0.75
        assert [vote.model for vote in signal.votes] == [
            "lightgbm", "xgboost", "nhits", "patchtst",
        ]  # fmt: skip
        assert not signal.in_sample
    within = {s.signal_id for batch in answers.batches for s in batch.signals}
    assert within == {s.signal_id for _, s in answers.signals}


async def test_candles_without_a_whole_window_are_answered_with_hold(
    bus: Bus, answers: Answers, start_replica: StartReplica
) -> None:
    """Incident 97: nothing stands in for models that cannot be asked."""
    await (await start_replica(SIGNAL_SHARE="1")).becomes_ready()
    candles = market("EEEUSDT", 130)
    gap = [c for i, c in enumerate(market("FFFUSDT", 140)) if i != 100]
    live = [*candles[:20], *gap]
    await bus.publish_all([outgoing(candle) for candle in live])
    await eventually(lambda: answers.has_all(live))
    for candle in live:
        (prediction,) = answers.by_candle[candle.symbol, candle.open_time]
        assert prediction.hold_reason == "not_warm"
        assert prediction.action == signal_pb2.ACTION_HOLD
    assert not answers.signals


async def test_old_candles_are_answered_but_make_no_signal(
    bus: Bus, answers: Answers, start_replica: StartReplica
) -> None:
    """Incident 61: a backlog is answered stale, never traded hours late."""
    series = market("GGGUSDT", 160)
    await publish_history(bus, series[:130])
    live = series[130:]
    await bus.publish_all([outgoing(candle) for candle in live])
    await (await start_replica(SIGNAL_SHARE="1")).becomes_ready()
    await eventually(lambda: answers.has_all(live))
    newest = live[-1].close_time
    for candle in live:
        (prediction,) = answers.by_candle[candle.symbol, candle.open_time]
        late = newest > candle.close_time + 300_000
        assert (prediction.hold_reason == "stale") == late
        if late:
            assert prediction.action == signal_pb2.ACTION_HOLD


async def test_what_is_no_candle_goes_to_the_dead_letters_and_the_rest_goes_on(
    bus: Bus, answers: Answers, start_replica: StartReplica
) -> None:
    """Incident 63: a foreign message is counted and put aside, not fatal."""
    replica = await start_replica()
    await replica.becomes_ready()
    candle = market("HHHUSDT", 1)[0]
    subject = subjects.round_candles(VENUE, "1m", 0)
    await bus.publish(subject, b"\xff\xfe nonsense", message_id="bad-1")
    await bus.publish(subject, b"", message_id="bad-2")
    await bus.publish_all([outgoing(candle)])
    await eventually(lambda: answers.has_all([candle]))
    dead = subjects.deadletter(subjects.MARKET.name, subjects.AI_WORK_CONSUMER)

    async def buried() -> bool:
        return await bus.last_sequence(subjects.DEADLETTER.name) == 2

    await eventually(buried)
    last = await bus.last(subjects.DEADLETTER.name, dead)
    assert last is not None
    assert last.headers[subjects.HEADER_REASON]
    assert (await replica.health()).status == "healthy"


async def test_what_else_the_market_stream_holds_is_neither_kept_nor_answered_nor_buried(
    nats_url: str, bus: Bus, answers: Answers, start_replica: StartReplica
) -> None:
    """An earlier version's consumer asked for candles alone: it goes on where it was."""
    old = await Bus.connect(nats_url, "old")
    seen: list[int] = []

    async def earlier(deliveries: list[Delivery]) -> None:
        seen.extend(d.sequence for d in deliveries)

    market_stream, work = subjects.MARKET.name, subjects.AI_WORK_CONSUMER
    await old.work(market_stream, work, subjects.ALL_CANDLES, earlier, batch=1)
    answered, *live = market("JJJUSDT", 5)
    await bus.publish_all([outgoing(answered)])
    await eventually(lambda: len(seen) == 1)
    await old.close()
    price = "quantum.market.price.paper.JJJUSDT"
    for candle in live[:2]:
        await bus.publish(price, b"no candle", message_id=f"price-{candle.open_time}")
        await bus.publish_all([outgoing(candle)])
    replica = await start_replica()
    await replica.becomes_ready()
    await bus.publish(price, b"no candle", message_id="price-late")
    await bus.publish_all([outgoing(candle) for candle in live[2:]])
    await eventually(lambda: answers.has_all(live))
    assert (answered.symbol, answered.open_time) not in answers.by_candle

    async def settled() -> bool:
        found = await bus.client.jetstream().consumer_info(market_stream, work)
        assert found.config.filter_subject == subjects.ALL_OF_MARKET
        return not found.num_pending and not found.num_ack_pending

    await eventually(settled)
    assert not await bus.last_sequence(subjects.DEADLETTER.name)


async def test_a_model_that_is_damaged_while_running_stops_answering(
    bus: Bus, answers: Answers, start_replica: StartReplica, tmp_path: Path
) -> None:
    """Incident 99: what is loaded is what the manifest names, or nothing is; health tells."""
    source = active_folder(SHIPPED_MODELS)
    folder = tmp_path / "models" / source.name
    folder.mkdir(parents=True)
    for file in source.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (tmp_path / "models" / "ACTIVE").write_text(source.name)
    replica = await start_replica(MODELS_DIR=str(tmp_path / "models"))
    await replica.becomes_ready()
    good = (folder / "model.onnx").read_bytes()
    damaged = bytearray(good)
    damaged[len(good) // 2] ^= 1
    (folder / "model.onnx").write_bytes(damaged)

    async def loaded() -> bool:
        return (await replica.health()).models_loaded

    async def refused() -> bool:
        return not await loaded()

    await eventually(refused, deadline=15)
    assert "SHA-256" in " ".join((await replica.health()).reasons)
    candle = market("IIIUSDT", 1)[0]
    await bus.publish_all([outgoing(candle)])
    await asyncio.sleep(0.5)
    assert not answers.by_candle
    (folder / "model.onnx").write_bytes(good)
    await eventually(loaded, deadline=15)
    await eventually(lambda: answers.has_all([candle]))
