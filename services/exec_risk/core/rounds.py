"""Rounds: all candles of one market time, judged together once."""

from __future__ import annotations

from services.exec_risk.core import emergency, isolation
from services.exec_risk.core.account.periods import Round
from services.exec_risk.core.effects import StoreVolumes
from services.exec_risk.core.facts import RoundDecided
from services.exec_risk.core.inputs import PredictionsArrived, Signal
from services.exec_risk.core.protection import exits, following
from services.exec_risk.core.risk import entries, safety
from services.exec_risk.core.state import Book
from services.trade.candle import Candle

_KEPT = 16


def round_at(book: Book, time: int) -> Round | None:
    """Return the round of a market time, or None when it was decided before."""
    if time <= book.last_round:
        return None
    found = book.rounds.get(time)
    if found is None:
        found = book.rounds[time] = Round(time)
        for old in sorted(book.rounds)[:-_KEPT]:
            del book.rounds[old]
    return found


def candle_closed(book: Book, candle: Candle) -> None:
    """Take a close as the symbol's price and into its round."""
    time = candle.close_time
    if time > book.time:
        book.time = time
    known = book.prices.get(candle.symbol)
    if known is None or known[1] <= time:
        book.prices[candle.symbol] = (candle.close, time)
    book.executing.saw(candle)
    found = round_at(book, time)
    if found is not None:
        found.closes[candle.symbol] = candle.close
    if candle.symbol in book.positions:
        following.candle_closed(book, candle)


def opened(book: Book, time: int, symbols: tuple[str, ...]) -> None:
    """Learn which symbols belong to a round. A point at which none closed is none."""
    found = round_at(book, time) if symbols else None
    if found is not None and found.symbols is None:
        found.symbols = tuple(sorted(symbols))
        _decide_when_due(book, found)


def answered(book: Book, batch: PredictionsArrived) -> None:
    """Take the answers to candles; the first answer to a candle counts."""
    book.in_sample = batch.in_sample
    times = sorted({prediction.round_time for prediction in batch.predictions})
    found = {time: round_at(book, time) for time in times}
    for prediction in batch.predictions:
        belongs = found[prediction.round_time]
        if belongs is not None:
            key = (prediction.symbol, prediction.timeframe)
            belongs.answers.setdefault(key, prediction)
    for time in times:
        if time in book.rounds:
            _decide_when_due(book, book.rounds[time])


def timed_out(book: Book, time: int) -> None:
    """Decide a round with what has come; what is missing counts as HOLD."""
    found = book.rounds.get(time)
    if found is not None:
        found.timed_out = True
        _decide_when_due(book, found)


def _decide_when_due(book: Book, found: Round) -> None:
    if found.due and found.time > book.last_round:
        _decide(book, found)


def _decide(book: Book, found: Round) -> None:
    book.last_round = found.time
    for old in [t for t in book.rounds if t <= found.time]:
        del book.rounds[old]
    book.day(found.time)
    emergency.note_peak(book)
    emergency.watch(book)
    safety.review(book)
    equity, wallet = book.equity(), book.wallet
    signals = _ordered(found)
    # a round may be decided late: its signals have aged with the market, not with the round
    now = max(found.time, book.time)
    isolation.each(book, signals, lambda b, signal: entries.consider(b, signal, now))
    exits.leave_by_rule(book, found.time)
    missing = found.missing
    if missing:
        text = f"round {found.time}: no answer for {', '.join(missing)}"
        book.alert("LOW", "PREDICTIONS_MISSING", text)
    book.emit(
        RoundDecided(
            time=found.time,
            symbols=found.symbols or (),
            missing=missing,
            signal_ids=tuple(s.signal_id for s in signals),
            equity=equity,
            wallet_balance=wallet,
            open_positions=len(book.positions),
            closes=dict(sorted(found.closes.items())),
            in_sample=book.in_sample,
        )
    )
    volumes = book.executing.volumes
    profiles = tuple(volumes[s] for s in sorted(found.closes) if s in volumes)
    if profiles:
        book.emit(StoreVolumes(profiles))
    book.store_account(with_prices=True)


def _ordered(found: Round) -> list[Signal]:
    symbols = set(found.symbols or ())
    signals = [a.signal for a in found.answers.values() if a.signal and a.symbol in symbols]
    return sorted(signals, key=lambda s: (-s.confidence, s.symbol, s.timeframe))
