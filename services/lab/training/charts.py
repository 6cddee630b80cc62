"""Small charts as SVG text: lines, and bars with their zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 150, 16, 34
COLOURS = ("#0b7285", "#e8590c", "#5f3dc4", "#2b8a3e", "#c2255c", "#868e96", "#f08c00", "#1864ab")

Point = tuple[float, float]


def lines(
    series: Mapping[str, Sequence[Point]], x_label: str, y_label: str, *, diagonal: bool = False
) -> str:
    """Return a chart of lines by name; `diagonal` draws where y equals x."""
    points = [point for line in series.values() for point in line]
    if not points:
        return "<p>Nothing to draw.</p>"
    x_low, x_high = _span([x for x, _ in points])
    y_low, y_high = _span([y for _, y in points])
    parts = _frame(x_low, x_high, y_low, y_high, x_label, y_label)

    def place(point: Point) -> str:
        x = _LEFT + (point[0] - x_low) / (x_high - x_low) * (WIDTH - _LEFT - _RIGHT)
        y = HEIGHT - _BOTTOM - (point[1] - y_low) / (y_high - y_low) * (HEIGHT - _TOP - _BOTTOM)
        return f"{x:.1f},{y:.1f}"

    if diagonal:
        low, high = max(x_low, y_low), min(x_high, y_high)
        if high > low:
            path = f"{place((low, low))} {place((high, high))}"
            parts.append(
                f'<polyline points="{path}" stroke="#adb5bd" fill="none" stroke-dasharray="4"/>'
            )
    for index, (name, line) in enumerate(series.items()):
        colour = COLOURS[index % len(COLOURS)]
        path = " ".join(place(point) for point in line)
        parts.append(
            f'<polyline points="{path}" stroke="{colour}" fill="none" stroke-width="1.8"/>'
        )
        y = _TOP + 14 + 17 * index
        parts.append(
            f'<text x="{WIDTH - _RIGHT + 12}" y="{y}" fill="{colour}">{_name(name)}</text>'
        )
    return _svg(parts)


def bars(values: Mapping[str, float], y_label: str) -> str:
    """Return a chart of one horizontal bar a name, from zero."""
    if not values:
        return "<p>Nothing to draw.</p>"
    low, high = min(0.0, *values.values()), max(0.0, *values.values())
    span = (high - low) or 1.0
    row, left, width = 22, 170, 380
    zero = left + -low / span * width
    parts = []
    for index, (name, value) in enumerate(values.items()):
        y = 8 + index * row
        x = min(zero, zero + value / span * width)
        colour = "#2b8a3e" if value >= 0 else "#c92a2a"
        parts.append(
            f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{_name(name)}</text>'
            f'<rect x="{x:.1f}" y="{y}" width="{abs(value) / span * width:.1f}" height="15"'
            f' fill="{colour}"/>'
            f'<text x="{left + width + 8}" y="{y + 13}">{_number(value)}</text>'
        )
    bottom = 8 + len(values) * row
    parts.append(f'<line x1="{zero:.1f}" y1="4" x2="{zero:.1f}" y2="{bottom}" stroke="#495057"/>')
    parts.append(f'<text x="{left}" y="{bottom + 16}">{escape(y_label)}</text>')
    return _svg(parts, height=bottom + 24)


def _name(name: str) -> str:
    return escape(name.replace("_", " "))


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _frame(
    x_low: float, x_high: float, y_low: float, y_high: float, x_label: str, y_label: str
) -> list[str]:
    right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
    parts = [
        f'<rect x="{_LEFT}" y="{_TOP}" width="{right - _LEFT}" height="{bottom - _TOP}"'
        ' fill="none" stroke="#ced4da"/>',
        f'<text x="{(_LEFT + right) / 2}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x_label)}'
        "</text>",
        f'<text x="{_LEFT}" y="{_TOP - 5}">{escape(y_label)}</text>',
    ]
    if y_low < 0 < y_high:
        y = bottom - (0 - y_low) / (y_high - y_low) * (bottom - _TOP)
        parts.append(
            f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#868e96"/>'
        )
    for part in (0.0, 0.5, 1.0):
        x, y = _LEFT + part * (right - _LEFT), bottom - part * (bottom - _TOP)
        parts.append(
            f'<text x="{x:.1f}" y="{bottom + 14}" text-anchor="middle">'
            f"{_number(x_low + part * (x_high - x_low))}</text>"
            f'<text x="{_LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">'
            f"{_number(y_low + part * (y_high - y_low))}</text>"
        )
    return parts


def _svg(parts: Sequence[str], height: int = HEIGHT) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        f' xmlns="http://www.w3.org/2000/svg" font-family="system-ui,sans-serif" font-size="11">'
        f"{''.join(parts)}</svg>"
    )
