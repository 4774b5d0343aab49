"""A training curve as a picture inside a page (SVG, no script)."""

from __future__ import annotations

import json
import math
from pathlib import Path

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 460, 220, 52, 26


def curves(rows: Path) -> list[str]:
    """Names of the figures in a `metrics.jsonl`."""
    lines = rows.read_text().splitlines()
    return list(json.loads(lines[-1])) if lines else []


def chart(rows: Path, name: str, title: str) -> str:
    """The figure `name` of a `metrics.jsonl` over steps, logarithmic; empty text when no row has it."""
    points = []
    for line in rows.read_text().splitlines():
        row = json.loads(line)
        if row.get(name, 0) > 0:
            points.append((float(row["step"]), math.log10(row[name])))
    if len(points) < 2:
        return ""
    last = points[-1][0]
    values = [value for _, value in points]
    low, high = min(values), max(values)
    if high - low < 1e-6:
        low, high = low - 0.05, high + 0.05

    def x(step: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - 8) * step / last

    def y(value: float) -> float:
        return 8 + (_HEIGHT - _BOTTOM - 8) * (high - value) / (high - low)

    path = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in points)
    grid = "".join(
        f'<line x1="{_LEFT}" x2="{_WIDTH - 8}" y1="{y(mark):.1f}" y2="{y(mark):.1f}" stroke="#e3e8ed"/>'
        f'<text x="{_LEFT - 6}" y="{y(mark) + 4:.1f}" text-anchor="end">{10**mark:.2g}</text>'
        for mark in (low + (high - low) * share for share in (0, 0.25, 0.5, 0.75, 1))
    )
    steps = "".join(
        f'<text x="{x(last * share):.1f}" y="{_HEIGHT - 6}" text-anchor="{anchor}">{last * share:,.0f}</text>'
        for share, anchor in ((0, "start"), (0.5, "middle"), (1, "end"))
    )
    return (
        f'<figure><figcaption>{title}, by step</figcaption><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="100%" '
        f'role="img" aria-label="{title}" font-size="11" fill="#667380">{grid}{steps}'
        f'<polyline points="{path}" fill="none" stroke="#4a7fb5" stroke-width="1.6"/></svg></figure>'
    )
