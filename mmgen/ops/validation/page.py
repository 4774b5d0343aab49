"""The verdict of `validate` as one HTML page that needs nothing from outside: no scripts, no fonts, no links to hosts.

Everything from the data set is escaped; pictures are small PNGs written by us, inside the page.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mmgen.page import page, picture, safe

SHOWN = 40
"""Bad rows of one expectation that are drawn; the verdict's JSON lists more."""

_STYLE = """
.rows { display: grid; grid-template-columns: repeat(auto-fill, minmax(290px, 1fr)); gap: 10px; margin: 10px 0 24px }
.row { display: flex; gap: 12px; border: 1px solid var(--line); border-radius: 8px; padding: 8px; background: #fff }
.row img, .row i { flex: none; width: 72px; height: 72px; border-radius: 4px; background: #fff }
.row i { background: #f0f2f5; color: var(--soft); font-size: 12px; text-align: center; line-height: 72px }
.row div { min-width: 0; overflow-wrap: anywhere; font-size: 13px } .row b { font-weight: 600 }
.splits { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 16px }
.splits .card + .card { margin-top: 0 } .splits h3 { display: flex; justify-content: space-between }
.bar { display: grid; grid-template-columns: 84px 1fr 48px; gap: 10px; align-items: center; font-size: 13px }
.bar span { height: 10px; border-radius: 3px; background: var(--bar); min-width: 2px }
.bar em { font-style: normal; text-align: right }
"""


def render(verdict: dict[str, Any], thumbnails: dict[str, bytes]) -> str:
    """The page.

    Args:
        verdict: the content of `validation.json`.
        thumbnails: PNG bytes of bad rows by `split/key`; rows without one get an empty frame.
    """
    data = verdict["data"]
    body = [
        f"<h1>Data set {safe(data['name'])}</h1>",
        f"<p class=soft>{safe(data['title'])}</p>",
        f"<p class=soft>version <code>{safe(data['version'] or 'unknown')}</code></p>",
        _head(verdict),
        _failures(verdict, thumbnails),
        _quarantine(verdict, thumbnails),
        "<h2>Expectations</h2>",
        _expectations(verdict["expectations"]),
        "<h2>Samples by split and group</h2>",
        _splits(verdict["groups"]),
        "<h2>Licences</h2>",
        _licences(data["licences"]),
    ]
    return page(f"Validation of {data['name']}", body, _STYLE)


def _head(verdict: dict[str, Any]) -> str:
    failed = sum(not item["success"] for item in verdict["expectations"])
    said = "Accepted" if verdict["success"] else "Refused"
    facts = [
        (said, f"{failed} expectations failed" if failed else "every expectation holds", " class=said"),
        (f"{verdict['samples']:,}", "samples read", ""),
        (str(len(verdict["expectations"])), "expectations", ""),
        (str(len(verdict["quarantined"])), "samples set aside", ""),
    ]
    cells = "".join(f"<div><b{mark}>{value}</b><span class=soft>{label}</span></div>" for value, label, mark in facts)
    return f'<div class="card verdict{"" if verdict["success"] else " bad"}">{cells}</div>'


def _failures(verdict: dict[str, Any], thumbnails: dict[str, bytes]) -> str:
    parts = []
    for item in verdict["expectations"]:
        if item["success"]:
            continue
        shown = list(zip(item["rows"], item["reasons"], strict=True))[:SHOWN]
        more = item["unexpected"] - len(shown)
        parts.append(
            f"<p><b>{safe(item['says'])}</b>: not met by {item['unexpected']:,} <code>{safe(item['name'])}</code></p>"
        )
        parts.append(_rows(shown, thumbnails) + (f"<p class=soft>and {more:,} more</p>" if more > 0 else ""))
    return "<h2>What is wrong</h2>" + "".join(parts) if parts else ""


def _quarantine(verdict: dict[str, Any], thumbnails: dict[str, bytes]) -> str:
    if not verdict["quarantined"]:
        return ""
    rows = [(f"{item['split']}/{item['key']}", item["reason"]) for item in verdict["quarantined"]]
    note = "<p class=soft>Within the budget of the recipe; no model learns from these samples.</p>"
    return f"<h2>Set aside</h2>{note}{_rows(rows, thumbnails)}"


def _rows(rows: Iterable[tuple[str, str]], thumbnails: dict[str, bytes]) -> str:
    cells = []
    for name, reason in rows:
        shown = picture(thumbnails[name], name) if name in thumbnails else "<i>no picture</i>"
        cells.append(f"<div class=row>{shown}<div><b>{safe(name)}</b><br>{safe(reason)}</div></div>")
    return f"<div class=rows>{''.join(cells)}</div>"


def _expectations(items: Iterable[dict[str, Any]]) -> str:
    lines = []
    for item in items:
        mark = "<span class='mark ok'>holds</span>"
        if not item["success"]:
            mark = "<span class='mark no'>fails</span>"
        elif item["unexpected"]:
            mark = "<span class='mark aside'>set aside</span>"
        name = f"<br><code class=soft>{safe(item['name'])}</code>"
        lines.append(
            f"<tr><td>{safe(item['says'])}{name}</td><td class=n>{item['unexpected']:,}</td><td>{mark}</td></tr>"
        )
    head = "<tr><th>expectation</th><th class=n>bad rows</th><th></th></tr>"
    return f"<div class=card><table>{head}{''.join(lines)}</table></div>"


def _splits(groups: dict[str, dict[str, int]]) -> str:
    parts = []
    for split in sorted(groups, key=lambda name: (name != "train", name)):
        counts = groups[split]
        largest = max(counts.values())
        bars = "".join(
            f"<div class=bar>{safe(group)}<span style='width:{100 * count / largest:.1f}%'></span>"
            f"<em>{count:,}</em></div>"
            for group, count in sorted(counts.items(), key=lambda pair: -pair[1])
        )
        title = f"<h3>{safe(split)}<span class=soft>{sum(counts.values()):,}</span></h3>"
        parts.append(f"<div class=card>{title}{bars}</div>")
    return f"<div class=splits>{''.join(parts)}</div>" if parts else "<p class=soft>none could be read</p>"


def _licences(licences: Iterable[dict[str, str]]) -> str:
    lines = "".join(
        "<tr>"
        + "".join(f"<td>{safe(part.get(name, ''))}</td>" for name in ("what", "licence", "credit", "url"))
        + "</tr>"
        for part in licences
    )
    head = "<tr><th>what</th><th>licence</th><th>credit</th><th>address</th></tr>"
    return f"<div class=card><table>{head}{lines}</table></div>"
