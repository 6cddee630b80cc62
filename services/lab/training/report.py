"""The report of a training: one page that needs nothing else, plain about what is not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from html import escape
from typing import Any

import numpy as np

from services.ai.core.promotion_gate import Gain
from services.lab.training import charts, figures, scores
from services.lab.training.baselines import ALWAYS_HOLD, BASELINES
from services.lab.training.evidence import Evidence
from services.lab.training.walk_forward import ENSEMBLE

_STYLE = (
    "body{font:14px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;"
    "color:#212529}table{border-collapse:collapse;margin:.5rem 0 1.5rem}"
    "td,th{padding:.2rem .7rem;border-bottom:1px solid #dee2e6;text-align:right}"
    "td:first-child,th:first-child{text-align:left}.best{font-weight:600}"
    ".no{background:#fff4e6;padding:.2rem .6rem}svg{font:11px system-ui,sans-serif;"
    "max-width:100%;height:auto}code{overflow-wrap:anywhere}"
)
_POINTS = 200


def verdicts(evidence: Evidence, cost_bp: float) -> list[str]:
    """Return in plain sentences what the models are worth on these rows."""
    table = evidence.measured.table()
    whole, hold = table[ENSEMBLE], table[ALWAYS_HOLD]
    found = [
        *_beaten(evidence, table),
        f"Its most likely class comes in {whole['accuracy']:.1%} of rows; always saying the most"
        f" common class would be right in {hold['accuracy']:.1%}"
        f" ({_more(whole['accuracy'] > hold['accuracy'] + 0.002)}).",
        f"Among rows that moved, it ranks up above down in {whole['direction_auc']:.1%} of pairs;"
        " 50 % is a coin.",
    ]
    earned = evidence.trades[ENSEMBLE].earned()
    if not earned.trades:
        return [*found, "It made no trade."]
    sure = earned.low_bp > 0
    return [
        *found,
        f"Traded at the gate, {earned.trades} trades made {earned.gross_bp:+.1f} bp before and"
        f" {earned.net_bp:+.1f} bp after {cost_bp:.0f} bp of fees and slippage and funding, 95 %"
        f" interval {earned.low_bp:+.1f} to {earned.high_bp:+.1f}: "
        + ("above zero on these rows, which promises nothing." if sure else "no profit shown."),
    ]


def _beaten(evidence: Evidence, table: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Say which baselines the ensemble beats, and of which that is not sure."""
    own = table[ENSEMBLE]["log_loss"]
    lost = [name for name in BASELINES if not own < table[name]["log_loss"]]
    doubtful = [n for n in BASELINES if n not in lost and not evidence.gains[n].sure]
    found = [f"In log-loss the ensemble does not beat {_names(lost)}."] if lost else []
    if doubtful:
        found.append(
            f"There is no certainty that it beats {_names(doubtful)}: the 95 % interval of what it"
            f" gains over {evidence.gains[doubtful[0]].spans} spans of time reaches below zero."
        )
    if not lost and not doubtful:
        text = "In log-loss the ensemble beats every baseline, each by more than chance would"
        found.append(f"{text} (95 % intervals over spans of time): {_names(BASELINES)}.")
    return found


def _more(better: bool) -> str:
    return "better" if better else "no gain"


def _names(names: Sequence[str]) -> str:
    return ", ".join(name.replace("_", " ") for name in names)


def write_report(manifest: Mapping[str, Any], evidence: Evidence, unseen: Evidence | None) -> str:
    """Return the page."""
    training = manifest["training"]
    balance = ", ".join(f"{name} {share:.1%}" for name, share in training["class_balance"].items())
    parts = [
        f"<h1>{escape(manifest['version'])}</h1>",
        f"<p>{manifest['timeframe']} candles of {escape(', '.join(training['symbols']))};"
        f" {training['rows']:,} rows, every {training['every']}. bar. Triple barrier:"
        f" {manifest['label']['horizon']} bars, costs {manifest['metrics']['cost_bp']:.0f} bp or"
        f" {manifest['label']['atr_multiple']:g} ATR, whichever is more. Classes: {balance}.</p>",
        f"<p><code>{escape(manifest['command'])}</code></p>",
    ]
    parts += _section("Walk forward, out of sample", evidence, manifest)
    if unseen is not None:
        parts += _section("Held out: candles that training never saw", unseen, manifest)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(manifest['version'])}</title><style>{_STYLE}</style></head><body>"
        + "\n".join(parts)
        + "</body></html>\n"
    )


def _section(title: str, evidence: Evidence, manifest: Mapping[str, Any]) -> list[str]:
    measured = evidence.measured
    table = measured.table()
    gain = {
        name: scores["log_loss"] - table[ALWAYS_HOLD]["log_loss"]
        for name, scores in table.items()
        if name != ALWAYS_HOLD
    }
    parts = [f"<h2>{title}</h2><ul>"]
    parts += [
        f'<li class="{"no" if " no" in text else ""}">{escape(text)}</li>'
        for text in verdicts(evidence, manifest["metrics"]["cost_bp"])
    ]
    parts += ["</ul>", _table(table), "<h3>Log-loss gained over always holding</h3>"]
    parts.append(charts.bars({n: -v for n, v in gain.items()}, "nats; right is better"))
    parts.append("<h3>Log-loss that the ensemble gains, with 95 % intervals</h3>")
    parts.append(_table({name: _interval(gain) for name, gain in evidence.gains.items()}))
    parts.append("<h3>Trades at the gate, after fees and funding</h3>")
    parts.append(_table({n: asdict(t.earned()) for n, t in evidence.trades.items()}))
    parts.append(charts.lines(_earned(evidence), "days", "sum of net returns, bp"))
    parts.append("<h3>Said and seen confidence</h3>")
    parts.append(charts.lines(_reliability(evidence), "said", "seen", diagonal=True))
    parts += _groups("By fold", measured.tables_by(measured.fold), evidence, "fold")
    if len(set(measured.rows.symbols.tolist())) > 1:
        by_symbol = measured.tables_by(measured.rows.symbols)
        parts += _groups("By symbol", by_symbol, evidence, "symbol")
    return parts


def _interval(gain: Gain) -> dict[str, float]:
    return {"gain_nats": gain.mean, "low": gain.low, "high": gain.high, "spans": gain.spans}


def _groups(
    title: str,
    tables: Mapping[str, Mapping[str, Mapping[str, float]]],
    evidence: Evidence,
    kind: str,
) -> list[str]:
    """Return all scores of every predictor, one folded table a group."""
    measured = evidence.measured
    keys = measured.fold.astype(str) if kind == "fold" else measured.rows.symbols
    rows = {}
    parts = []
    for group, table in tables.items():
        joined: dict[str, dict[str, float]] = {}
        for name, found in table.items():
            trades = evidence.trades[name]
            part = trades.take(keys[trades.rows] == group).earned() if trades.rows.size else None
            joined[name] = dict(found) | {
                "trades": float(part.trades) if part else 0.0,
                "net_bp": part.net_bp if part else 0.0,
            }
        rows[group] = joined[ENSEMBLE] | {
            "hold_log_loss": joined[ALWAYS_HOLD]["log_loss"],
        }
        parts.append(
            f"<details><summary>{escape(kind)} {escape(group)}</summary>{_table(joined)}</details>"
        )
    return [f"<h3>{title}: the ensemble</h3>", _table(rows), *parts]


def _table(table: Mapping[str, Mapping[str, float]]) -> str:
    columns = list(next(iter(table.values())))
    best = {c: figures.best(c, list(table.values())) for c in columns}
    head = "".join(f"<th>{escape(figures.title(c))}</th>" for c in columns)
    body = "".join(
        f"<tr><td>{escape(figures.title(name))}</td>"
        + "".join(_cell(figures.figure(c, row), row[c] == best[c]) for c in columns)
        + "</tr>"
        for name, row in table.items()
    )
    return f"<table><tr><th></th>{head}</tr>{body}</table>"


def _cell(text: str, best: bool) -> str:
    chosen = ' class="best"' if best and text != figures.NONE else ""
    return f"<td{chosen}>{text}</td>"


def _earned(evidence: Evidence) -> dict[str, list[charts.Point]]:
    start = int(evidence.measured.rows.times.min())
    found = {}
    for name, trades in evidence.trades.items():
        if trades.rows.size:
            order = np.argsort(trades.times, kind="stable")
            days = (trades.times[order] - start) / 86_400_000
            total = np.cumsum(trades.net[order]) * 1e4
            kept = np.linspace(0, total.size - 1, min(_POINTS, total.size)).astype(int)
            points = zip(days[kept].tolist(), total[kept].tolist(), strict=True)
            found[name] = [(0.0, 0.0), *points]
    return found


def _reliability(evidence: Evidence) -> dict[str, list[charts.Point]]:
    measured = evidence.measured
    return {
        name: [
            (said, seen)
            for said, seen, _ in scores.reliability(
                measured.predictions[name], measured.rows.labels
            )
        ]
        for name in (*evidence.temperature, ENSEMBLE)
    }
