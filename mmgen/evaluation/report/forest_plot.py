"""A forest plot of the gate's verdict: every interval beside the bound that it is held against, as inline SVG.

Metrics have different units, so each line is drawn in units of its own bound: what loses by its margin lies at -1,
what wins by its gain at 1. `no worse` holds where the bar lies right of the margin, `better by` where the bar lies
right of 0 and the dot right of the gain; one that is not shown is grey, since it need not be.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmgen.page import safe

REACH = 3.0
"""Units drawn on either side of nothing; what lies beyond is cut, with an arrow."""
_STYLE = 'style="max-width:100%;font:13px system-ui,sans-serif" xmlns="http://www.w3.org/2000/svg"'
_LINE, _LEFT, _WIDTH, _RIGHT = 26, 270, 400, 190


def forest(table: Sequence[dict[str, Any]]) -> str:
    """The plot of the rows of a verdict that have an interval; empty when none has."""
    rows = [row for row in table if row.get("low") is not None and row.get("bound")]
    if not rows:
        return ""
    height = _LINE * len(rows) + 44
    whole = _LEFT + _WIDTH + _RIGHT
    bottom = height - 34
    parts = [
        f'<svg viewBox="0 0 {whole} {height}" role="img" aria-label="intervals and bounds" {_STYLE}>',
        f'<line x1="{_x(0)}" x2="{_x(0)}" y1="4" y2="{bottom}" stroke="#667380"/>',
    ]
    parts += [_row(row, _LINE * place + 18) for place, row in enumerate(rows)]
    for at, label in ((-1, "margin"), (0, "0"), (1, "gain")):
        parts.append(f'<text x="{_x(at)}" y="{height - 18}" text-anchor="middle" fill="#667380">{label}</text>')
    for end, anchor, label in ((_LEFT, "start", "worse"), (_LEFT + _WIDTH, "end", "better")):
        parts.append(f'<text x="{end}" y="{height - 2}" text-anchor="{anchor}" fill="#667380">{label}</text>')
    return "".join([*parts, "</svg>"])


def _row(row: dict[str, Any], y: int) -> str:
    unit = abs(row["bound"])
    low, middle, high = (row[name] / unit for name in ("low", "difference", "high"))
    need_not = row["bound"] > 0
    colour = "#1c7c4a" if row["passed"] else "#667380" if need_not else "#b3261e"
    bound = row["bound"] / unit
    said = f"{row['rule']}: {'holds' if row['passed'] else 'not shown' if need_not else 'fails'}"
    ends = [max(-REACH, low), min(REACH, high)]
    parts = [
        f'<text x="0" y="{y + 4}" fill="#1f2933">{safe(_short(row["metric"]))}</text>',
        f'<line x1="{_x(bound)}" x2="{_x(bound)}" y1="{y - 9}" y2="{y + 9}" stroke="#8a5a00" stroke-dasharray="3 2"/>',
        f'<line x1="{_x(ends[0])}" x2="{_x(ends[1])}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="3"/>',
        f'<circle cx="{_x(middle)}" cy="{y}" r="4.5" fill="{colour}"/>',
        f'<text x="{_LEFT + _WIDTH + 16}" y="{y + 4}" fill="{colour}">{safe(said)}</text>',
    ]
    for value, end, sign in ((low, _LEFT, -1), (high, _LEFT + _WIDTH, 1)):
        if abs(value) > REACH:
            parts.append(f'<path d="M{end} {y - 5}L{end + 7 * sign} {y}L{end} {y + 5}z" fill="{colour}"/>')
    return "".join(parts)


def _x(units: float) -> float:
    return round(_LEFT + _WIDTH * (min(REACH, max(-REACH, units)) / REACH + 1) / 2, 1)


def _short(name: str) -> str:
    return name if len(name) <= 36 else name[:35] + "…"
