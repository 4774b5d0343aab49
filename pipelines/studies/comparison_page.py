"""The page of `mmgen compare`: two models' scores and examples, the same prompts side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmgen.evaluation.report.tiles import thing
from mmgen.files import read_json
from mmgen.page import page, picture, safe
from pipelines.studies.comparison import table

_STYLE = """
.pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 14px 18px }
.pair { font-size: 12.5px; line-height: 1.35; border-top: 1px solid var(--line); padding-top: 6px }
.pair > b { display: block } .pair > div { display: grid; grid-template-columns: 70px 1fr 1fr; gap: 8px }
.pair img { width: 70px; height: 70px; border: 1px solid var(--line); border-radius: 5px }
.pair .sound img { width: 100%; height: auto } .pair audio { width: 100% } td, th { font-size: 13px }
main { max-width: 1200px }
"""
_ABOUT = (
    "Scores with 95 % intervals. The difference is B less A, prompt by prompt, where both were asked the same; a star "
    "marks one whose interval leaves out zero."
)
HELD_AGAINST = ("real", "given")
"""Labels of what is not a model's: shown once. Families may keep it at different sizes."""
Entry = dict[str, Any]


def write_page(first: Path, second: Path, names: tuple[str, str], rows: dict[str, dict[str, Any]]) -> str:
    """HTML of the comparison of two sealed folders of scores.

    Args:
        names: what the user calls A and B.
        rows: of `pipelines.studies.comparison.scores`.
    """
    sections = [
        {section["name"]: section for section in read_json(folder / "examples.json")["sections"]}
        for folder in (first, second)
    ]
    shared = [name for name in sections[0] if name in sections[1]]
    body = [
        f"<h1>{safe(names[0])} and {safe(names[1])}</h1>",
        f"<p class=soft>{_ABOUT}</p>",
        _scores(table(rows, (f"A: {names[0]}", f"B: {names[1]}"))),
    ]
    for name in shared:
        a, b = sections[0][name], sections[1][name]
        body += [f"<h2>{safe(a['title'])}</h2>", _section(a, b, first, second, names)]
    for place, folder_name in enumerate(names):
        alone = [entry["title"] for name, entry in sections[place].items() if name not in shared]
        if alone:
            body.append(f"<p class=soft>Only in the report of {safe(folder_name)}: {safe(', '.join(alone))}.</p>")
    return page(f"{names[0]} and {names[1]}", body, _STYLE)


def _scores(lines: list[tuple[str, ...]]) -> str:
    head, *rest = lines
    cells = "".join(f"<th{'' if place == 0 else ' class=n'}>{safe(cell)}</th>" for place, cell in enumerate(head))
    body = "".join(
        f"<tr><td><code>{safe(name)}</code></td>" + "".join(f"<td class=n>{safe(cell)}</td>" for cell in row) + "</tr>"
        for name, *row in rest
    )
    return f"<div class=card><table><tr>{cells}</tr>{body}</table></div>"


def _section(a: Entry, b: Entry, first: Path, second: Path, names: tuple[str, str]) -> str:
    """Tile by tile where both show the same prompts in the same order, else sheet beside sheet."""
    asked = [[tile["title"] for tile in section["tiles"]] for section in (a, b)]
    if asked[0] and asked[0] == asked[1] and any(asked[0]):
        pairs = zip(a["tiles"], b["tiles"], strict=True)
        return "<div class='card pairs'>" + "".join(_pair(*pair, first, second) for pair in pairs) + "</div>"
    cards = "".join(
        f"<div class=card><p><b>{safe(name)}</b></p>{picture((folder / section['sheet']).read_bytes(), name)}</div>"
        for section, folder, name in ((a, first, names[0]), (b, second, names[1]))
    )
    return f"<div class=two>{cards}</div>"


def _pair(a: Entry, b: Entry, first: Path, second: Path) -> str:
    """The prompt, the reference, then the samples of A and of B."""
    theirs = {item["label"] for item in b["media"]}
    common = [item for item in a["media"] if item["label"] in HELD_AGAINST and item["label"] in theirs]
    known = {item["label"] for item in common}
    sides = [[item for item in tile["media"] if item["label"] not in known] for tile in (a, b)]
    shown = "".join(thing(item, first) for item in common)
    cells = "".join(
        f"<div><span class=soft>{label}</span> {''.join(thing(item, folder) for item in items)}{_remarks(tile)}</div>"
        for label, items, tile, folder in (("A", sides[0], a, first), ("B", sides[1], b, second))
    )
    return f"<div class=pair><b>{safe(a['title'])}</b><div><div>{shown}</div>{cells}</div></div>"


def _remarks(tile: Entry) -> str:
    return "".join(
        f"<br><span class={'soft' if right is None else 'ok' if right else 'no'}>{safe(line)}</span>"
        for line, right in tile["remarks"]
    )
