"""How far data are from the champion's, as a part of a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmgen.data.changes.profile import MEASURES
from mmgen.page import safe


def shift_section(found: Mapping[str, Any]) -> str:
    """The section, from what `mmgen.ops.stages.drift` found; empty without a champion, or when the data are its own."""
    if not found:
        return ""
    if "shifts" not in found:
        return f"<h2>Shift of the data</h2><div class=card><p>{safe(found['problem'])}</p></div>"
    lines = []
    for name, value in found["shifts"].items():
        bound, halves = found["bounds"].get(name), found["halves"].get(name)
        over = bound is not None and value > bound
        mark = (
            "<td></td>"
            if bound is None
            else f"<td class='mark {'no' if over else 'ok'}'>{'over' if over else 'ok'}</td>"
        )
        cells = "".join(
            f"<td class=n>{'' if number is None else f'{number:.3f}'}</td>" for number in (value, halves, bound)
        )
        lines.append(f"<tr><td>{safe(MEASURES[name])}<br><code class=soft>{safe(name)}</code></td>{cells}{mark}</tr>")
    head = "<tr><th>what</th><th class=n>shift</th><th class=n>halves</th><th class=n>bound</th><th></th></tr>"
    words = "".join(
        f"<tr><td>{safe(word)}</td><td class=n>{before:.2%}</td><td class=n>{now:.2%}</td></tr>"
        for word, before, now in found["words"]
    )
    title = "<tr><th>words that changed most</th><th class=n>before</th><th class=n>now</th></tr>"
    about = (
        f"Against the data of champion version {safe(found['champion'])}. Halves: the same measure between two halves "
        "of those data, where nothing has changed."
    )
    changed = f"<div class=card><table>{title}{words}</table></div>" if words else ""
    return (
        f"<h2>Shift of the data</h2><p class=soft>{about}</p>"
        f"<div class=card><table>{head}{''.join(lines)}</table></div>{changed}"
    )
