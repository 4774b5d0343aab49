"""From a folder to what can be used of it: layout, every file looked at once, what was refused and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmgen.data.imports import coco, folder, parquet, webdataset
from mmgen.data.imports.columns import Columns
from mmgen.data.imports.entry import Entry, Refused
from mmgen.data.imports.look import Look, look_at
from mmgen.data.limits import CHARACTERS
from mmgen.data.worker_pool import Crew
from mmgen.errors import ConfigError, DataError, unknown
from mmgen.files import write_json
from mmgen.modalities import text
from mmgen.progress import Progress

LAYOUTS: dict[str, Any] = {"folder": folder, "coco": coco, "webdataset": webdataset, "parquet": parquet}
"""Name -> module with `find(folder)` and `read(folder, columns)`. To add one, add its line."""
CHUNK = 64
"""Entries that a process looks at in one go."""
DEADLY = Look("reading it ended the process that read it", {}, {}, 0, None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Import:
    """What to import, as what."""

    folder: Path
    name: str
    columns: Columns
    layout: str | None = None
    budget: float = 0.1
    """Largest share of samples that may be left out; one always may."""
    title: str = ""
    licence: str = ""
    credit: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Listed:
    """What the layout says is there, in the order of names, and rows that say nothing of use."""

    entries: list[Entry]
    refused: list[Refused]


@dataclass(frozen=True, slots=True)
class Gathered:
    """What can be used, and what cannot."""

    entries: list[Entry]
    looks: list[Look]
    refused: list[Refused]


def usable(asked: Import, found: Listed, crew: Crew, progress: Progress, report: Path) -> Gathered:
    """Everything that was listed and can be read; what was refused is in `report`.

    Raises:
        DataError: more samples are bad than the budget allows, or none is good.
    """
    refused = list(found.refused)
    looks = _looked_at(found.entries, crew, progress)
    good = _good(found.entries, looks, refused)
    write_report(report, refused, [])
    _check_budget(len(good), refused, asked.budget, report)
    return Gathered([found.entries[place] for place in good], [looks[place] for place in good], refused)


def write_report(path: Path, refused: Sequence[Refused], left_out: Sequence[Refused]) -> None:
    """List what did not become a sample."""
    rows = {"refused": refused, "left_out": left_out}
    write_json(
        path, {kind: [{"name": one.name, "reason": one.reason} for one in found] for kind, found in rows.items()}
    )


def layout_of(request: Import) -> str:
    """The layout that the folder has.

    Raises:
        ConfigError: no folder, an unknown layout, or several to choose from.
        DataError: none that is known.
    """
    where, asked = request.folder, request.layout
    if not where.is_dir():
        raise ConfigError(f"{str(where)!r} is not a folder; name the one that holds the data")
    if asked is not None and asked not in LAYOUTS:
        raise ConfigError(unknown("layout", asked, LAYOUTS))
    found = {name: len(module.find(where)) for name, module in LAYOUTS.items() if asked in (None, name)}
    found = {name: count for name, count in found.items() if count}
    if len(found) == 1:
        return next(iter(found))
    if found:
        several = ", ".join(f"{name} ({count} files)" for name, count in found.items())
        raise ConfigError(f"{str(where)!r} could be read as {several}; choose one with --layout")
    inside = sorted(path.name for path in where.iterdir())[:5]
    raise DataError(
        f"{str(where)!r} has none of the known layouts (metadata.jsonl or metadata.csv, a COCO captions JSON, .tar, "
        f".parquet); it holds: {', '.join(inside) or 'nothing'}"
    )


def listed(asked: Import) -> Listed:
    """What is there by the layout, captions in normal form. No media is read.

    Raises:
        ConfigError: no such folder or layout, or a column that is not there.
        DataError: a table that cannot be read.
    """
    found: Iterator[Entry | Refused] = LAYOUTS[layout_of(asked)].read(asked.folder, asked.columns)
    entries: list[Entry] = []
    refused: list[Refused] = []
    for one in found:
        if isinstance(one, Refused):
            refused.append(one)
            continue
        captions = {}
        try:
            for language, said in one.captions.items():
                captions[language] = tuple(text.check(" ".join(caption.split()), "text") for caption in said)
                if len(captions[language][0]) > CHARACTERS[1]:
                    raise DataError(f"a text of {len(captions[language][0])} characters; want at most {CHARACTERS[1]}")
        except DataError as error:
            refused.append(Refused(one.name, str(error).removeprefix("'text': ")))
        else:
            entries.append(Entry(one.name, one.media, captions, one.split, one.group, one.label))
    return Listed(sorted(entries, key=lambda entry: entry.name), refused)


def _looked_at(entries: Sequence[Entry], crew: Crew, progress: Progress) -> list[Look]:
    """A look at each entry."""
    progress.start("look", len(entries), "samples")
    found: dict[int, list[Look | None]] = {}
    done = 0
    for place, looks in crew.map(look_at, [entries[at : at + CHUNK] for at in range(0, len(entries), CHUNK)]):
        found[place] = looks
        done += len(looks)
        progress.update(done)
    progress.done()
    return [look or DEADLY for place in sorted(found) for look in found[place]]


def _good(entries: Sequence[Entry], looks: Sequence[Look], refused: list[Refused]) -> list[int]:
    """Places of what can be used: read well, and with the modalities and languages that most entries have."""
    kinds = Counter((tuple(sorted(entry.media)), tuple(sorted(entry.captions))) for entry in entries)
    usual = kinds.most_common(1)[0][0] if kinds else ((), ())
    good = []
    for place, (entry, look) in enumerate(zip(entries, looks, strict=True)):
        if look.problem is not None:
            refused.append(Refused(entry.name, look.problem))
        elif (kind := (tuple(sorted(entry.media)), tuple(sorted(entry.captions)))) != usual:
            refused.append(Refused(entry.name, f"has {_said(kind)}; most have {_said(usual)}"))
        else:
            good.append(place)
    return good


def _said(kind: tuple[tuple[str, ...], tuple[str, ...]]) -> str:
    return " and ".join([*kind[0], *(f"text in {code}" for code in kind[1])]) or "nothing"


def _check_budget(good: int, refused: Sequence[Refused], budget: float, report: Path) -> None:
    if not good:
        why = f"; the first: {refused[0].name}: {refused[0].reason}" if refused else ""
        raise DataError(f"nothing can be imported{why}")
    allowed = max(1, int(budget * (good + len(refused))))
    if len(refused) > allowed:
        reasons = ", ".join(f"{one.name}: {one.reason}" for one in refused[:3])
        raise DataError(
            f"{len(refused)} of {good + len(refused)} samples are bad, the budget is {allowed} ({reasons}, ...); all "
            f"are in {str(report)!r}; mend them, or allow more with --budget"
        )
