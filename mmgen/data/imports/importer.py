"""Import data of somebody's own: find the layout, look at every file once, deal out splits, write shards and a card.

Files are looked at on all cores, in processes, so that one that kills its reader ends nothing else. Nothing but names,
sizes, hashes and thumbnails stays in memory. The data set appears whole or not at all.
"""

from __future__ import annotations

import re
import secrets
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmgen.data.dataset import Card
from mmgen.data.imports import coco, folder, parquet, webdataset
from mmgen.data.imports.columns import Columns
from mmgen.data.imports.crew import Crew
from mmgen.data.imports.entry import Entry, Refused
from mmgen.data.imports.look import Look, look_at
from mmgen.data.imports.split import assign, families
from mmgen.data.imports.write import Piece, keys, write_shards
from mmgen.data.limits import CHARACTERS, GROUP_MINIMUM
from mmgen.data.shards import Shard
from mmgen.errors import ConfigError, DataError, StorageError, unknown
from mmgen.files import refusal, write_json
from mmgen.modalities import NAMES, text
from mmgen.progress import Progress

LAYOUTS: dict[str, Any] = {"folder": folder, "coco": coco, "webdataset": webdataset, "parquet": parquet}
"""Name -> module with `find(folder)` and `read(folder, columns)`. To add one, add its line."""
CHUNK = 64
"""Entries that a process looks at in one go."""
SHARD_SAMPLES, SHARD_BYTES = 1000, 64 * 2**20
DEADLY = Look("reading it ended the process that read it", {}, {}, 0, None)
OTHER = "other"
"""Group of samples whose label is too rare for a group of its own."""


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """What came of it."""

    folder: Path
    layout: str
    samples: dict[str, int]
    """By split."""
    refused: list[Refused]
    """Could not be used."""
    left_out: list[Refused]
    """Could be used, but would give away samples of a held-out split."""


def import_data(asked: Import, root: Path, progress: Progress, workers: int) -> Imported:
    """Import `asked.folder` as `<root>/<name>`; what was left out is listed in `<root>/<name>.import.json`.

    Raises:
        ConfigError: no such folder or layout, a column that is not there, a name that is taken or cannot be one.
        DataError: more samples are bad than the budget allows, or too few are good.
        StorageError: `root` cannot be written.
    """
    target = root / asked.name
    _check_name(asked.name, target)
    layout = _layout(asked.folder, asked.layout)
    entries, refused = _listed(LAYOUTS[layout].read(asked.folder, asked.columns))
    report = root / f"{asked.name}.import.json"
    with _whole(target) as scratch, Crew(workers) as crew:
        looks = _looked_at(entries, crew, progress)
        good = _good(entries, looks, refused)
        entries, looks = [entries[place] for place in good], [looks[place] for place in good]
        write_json(report, {"refused": _rows(refused), "left_out": []})
        _check_budget(len(entries), refused, asked.budget, report)
        family = families(entries, looks)
        splits = assign(entries, family)
        left_out = [
            Refused(entry.name, "nearly the same as a sample of a held-out split, or of its group")
            for entry, split in zip(entries, splits, strict=True)
            if split is None
        ]
        write_json(report, {"refused": _rows(refused), "left_out": _rows(left_out)})
        card = _card(asked, layout, entries, looks, _write(scratch, crew, entries, looks, splits, family, progress))
        card.save(scratch)
    return Imported(
        folder=target,
        layout=layout,
        samples={split: card.count(split) for split in card.splits},
        refused=refused,
        left_out=left_out,
    )


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """A folder that becomes `target` when all went well, and is removed else."""
    scratch = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        scratch.mkdir(parents=True)
        yield scratch
        scratch.rename(target)
    except OSError as error:
        raise StorageError(refusal(target, error)) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


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


def _check_name(name: str, target: Path) -> None:
    from mmgen.data.build import NAMES as BUILT

    if not re.fullmatch(r"[a-z][a-z0-9_]{1,31}", name):
        raise ConfigError(f"name {name!r}: use 2 to 32 small letters, digits and '_', a letter first")
    if name in BUILT:
        raise ConfigError(f"name {name!r} is that of a data set that `mmgen data build` makes; choose another")
    if target.exists():
        raise ConfigError(f"{str(target)!r} is there already; choose another --name, or remove it")


def _layout(where: Path, asked: str | None) -> str:
    """The layout that `where` has."""
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


def _listed(found: Iterator[Entry | Refused]) -> tuple[list[Entry], list[Refused]]:
    """Entries in the order of their names, their captions in normal form; and what is no entry."""
    entries, refused = [], []
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
    return sorted(entries, key=lambda entry: entry.name), refused


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


def _write(
    scratch: Path,
    crew: Crew,
    entries: Sequence[Entry],
    looks: Sequence[Look],
    splits: Sequence[str | None],
    family: Sequence[int],
    progress: Progress,
) -> dict[str, list[Shard]]:
    """Write every split in shards, a shard a process."""
    named, groups = keys(entries), _groups(entries, splits)
    sizes = Counter(family)
    pieces: dict[str, list[Piece]] = defaultdict(list)
    for place in sorted(range(len(entries)), key=named.__getitem__):
        entry, look, split = entries[place], looks[place], splits[place]
        if split is None:
            continue
        facts: dict[str, Any] = {
            "captions": {code: said[0] for code, said in entry.captions.items()},
            "concept": entry.label or (named[family[place]] if sizes[family[place]] > 1 else named[place]),
            "group": groups[place],
            "name": entry.name,
        }
        if more := {code: list(said[1:]) for code, said in entry.captions.items() if len(said) > 1}:
            facts["more_captions"] = more
        pieces[split].append(Piece(named[place], entry.media, look.parts, look.digests, look.size, facts))
    tasks = [
        [(scratch, f"{split}-{number:05d}.tar", chunk)]
        for split in ("train", *sorted(pieces.keys() - {"train"}))
        for number, chunk in enumerate(_cut(pieces[split]))
    ]
    progress.start("write", len(tasks), "shards")
    done: dict[int, Shard] = {}
    for place, (shard,) in crew.map(write_shards, tasks):
        if shard is None:
            raise StorageError(f"writing {tasks[place][0][1]!r} ended its process; is there enough memory?")
        done[place] = shard
        progress.update(len(done))
    progress.done()
    shards: dict[str, list[Shard]] = defaultdict(list)
    for place in sorted(done):
        shards[done[place].file.rpartition("-")[0]].append(done[place])
    return dict(shards)


def _groups(entries: Sequence[Entry], splits: Sequence[str | None]) -> list[str]:
    """The label where enough training samples have it, `other` where they do not, `all` where nothing has one."""
    counts = Counter(entry.label for entry, split in zip(entries, splits, strict=True) if split == "train")
    if set(counts) == {None}:
        return ["all"] * len(entries)
    often = {label for label, count in counts.items() if label is not None and count >= GROUP_MINIMUM}
    rare = sum(count for label, count in counts.items() if label not in often)
    if not often or 0 < rare < GROUP_MINIMUM:
        return ["all"] * len(entries)
    return [str(entry.label) if entry.label in often else OTHER for entry in entries]


def _cut(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """Shards of bounded count and size: one is held in memory while it is written."""
    chunk: list[Piece] = []
    size = 0
    for piece in pieces:
        if chunk and (len(chunk) == SHARD_SAMPLES or size + piece.size > SHARD_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(piece)
        size += piece.size
    if chunk:
        yield chunk


def _card(
    asked: Import, layout: str, entries: Sequence[Entry], looks: Sequence[Look], shards: dict[str, list[Shard]]
) -> Card:
    modalities = {*looks[0].parts, *(["text"] if entries[0].captions else [])}
    return Card(
        name=asked.name,
        title=asked.title or f"Imported from a {layout} layout",
        licences=[
            {
                "what": asked.name,
                "licence": asked.licence or "not stated",
                "credit": asked.credit or "not stated",
                "url": asked.url,
            }
        ],
        modalities=[name for name in NAMES if name in modalities],
        languages=sorted(entries[0].captions),
        splits=shards,
        sources=[],
    )


def _rows(refused: Sequence[Refused]) -> list[dict[str, str]]:
    return [{"name": one.name, "reason": one.reason} for one in refused]
