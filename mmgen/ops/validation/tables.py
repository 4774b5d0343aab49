"""A data set as tables: one row per sample, and what each sample shares with samples of other splits."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from mmgen.data.changes.near_duplicates import THUMBNAIL, pairs
from mmgen.data.shards import Sample
from mmgen.errors import DataError
from mmgen.modalities import image, media, text

Row = dict[str, Any]

ALIKE = frozenset({"train", "compositions"})
"""Splits whose pictures may be near each other: a composition is a training picture in another skin tone."""

SCRIPTS = {
    "ar": {"ARABIC"},
    "fa": {"ARABIC"},
    "ja": {"HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "CJK"},
    "ko": {"HANGUL"},
    "ru": {"CYRILLIC"},
    "zh": {"CJK"},
} | {code: {"LATIN"} for code in ("de", "en", "es", "fr", "id", "it", "pt", "tr")}
"""Scripts of a language, by the first word of Unicode's letter names. Captions in other languages go unchecked."""


def describe(split: str, sample: Sample, languages: Sequence[str], modalities: Sequence[str]) -> Row:
    """One sample as a row: everything that the rules on `rows` ask for.

    Args:
        languages: of the captions, where the data set has text.
        modalities: of the data set; the first one that is not text is what no two splits may share.
    """
    row: Row = {"row": f"{split}/{sample.key}", "split": split, "key": sample.key, "facts_problem": None}
    facts: dict[str, Any] = {}
    try:
        facts = sample.facts()
    except DataError as error:
        row["facts_problem"] = str(error)
    captions = facts.get("captions")
    captions = captions if isinstance(captions, dict) else {}
    row |= {"concept": words(facts.get("concept")), "group": words(facts.get("group"))}
    row |= {"content": None, "thumbnail": None}
    for modality in reversed([name for name in modalities if name != "text"]):
        row |= _picture(sample) if modality == "image" else _other(sample, modality)
    if "text" in modalities:
        row |= _text(sample, captions.get("en"))
        for code in languages:
            row |= _caption(captions.get(code), code)
    row["english"] = words(captions.get("en"))
    return row


def _picture(sample: Sample) -> Row:
    row: Row = dict.fromkeys(("picture_problem", "width", "height", "mode", "spread", "content", "thumbnail"))
    endings = sorted(ending for ending in sample.parts if f".{ending}" in image.EXTENSIONS)
    if len(endings) != 1:
        return row | {"picture_problem": f"picture parts: {', '.join(endings) or 'none'}; want one"}
    data, name = sample.parts[endings[0]], f"{sample.key}.{endings[0]}"
    try:
        (header, thumbnail), array = image.glance(data, name, THUMBNAIL), image.read(data, name)
    except DataError as error:
        return row | {"picture_problem": str(error)}
    return row | {
        "width": header.width,
        "height": header.height,
        "mode": header.mode,
        "spread": float(array.std()),
        "content": hashlib.sha256(f"{array.shape}".encode() + array.tobytes()).hexdigest(),
        "thumbnail": thumbnail.ravel(),
    }


def _other(sample: Sample, modality: str) -> Row:
    """A sound, video or tune: whether it can be read, how long it is (seconds, frames, notes), how much it varies."""
    reader = media.module(modality)
    row: Row = {f"{modality}_problem": None, f"{modality}_length": None, f"{modality}_spread": None}
    ending = next((ending for ending in media.endings(modality) if ending in sample.parts), None)
    if ending is None:
        return row | {f"{modality}_problem": f"no {reader.ENDING} part"}
    data = sample.parts[ending]
    try:
        value = reader.read(data, f"{sample.key}.{ending}")
    except DataError as error:
        return row | {f"{modality}_problem": str(error)}
    array = value if isinstance(value, np.ndarray) else np.frombuffer(data, np.uint8)
    seconds = len(array) / reader.RATE if modality == "sound" else len(array)
    return {
        f"{modality}_problem": None,
        f"{modality}_length": float(seconds),
        f"{modality}_spread": float(array.std()),
        "content": hashlib.sha256(array.tobytes()).hexdigest(),
    }


def _text(sample: Sample, english: object) -> Row:
    row: Row = {"text_problem": None, "agreement_problem": None}
    if "txt" not in sample.parts:
        return row | {"text_problem": "no txt part"}
    try:
        found = text.read(sample.parts["txt"], f"{sample.key}.txt")
    except DataError as error:
        return row | {"text_problem": str(error)}
    if isinstance(english, str) and found != english:
        row["agreement_problem"] = f"txt says {found[:60]!r}, json says {english[:60]!r}"
    return row


def _caption(value: object, code: str) -> Row:
    caption = value if isinstance(value, str) else None
    problem = script = None
    if caption is not None:
        problem, script = text.bad_character(caption), _script(caption, code)
        if problem is None and caption != unicodedata.normalize("NFC", caption.strip()):
            problem = f"{caption[:60]!r} is not in normal form (NFC, no space around it)"
    return {
        f"caption_{code}": None if caption is None else caption.encode(errors="replace").decode(),
        f"characters_{code}": None if caption is None else len(caption),
        f"problem_{code}": problem,
        f"script_{code}": script,
    }


def _script(caption: str, code: str) -> float | None:
    """Share of letters in the language's own script; None when there is nothing to tell it by."""
    letters = [_letter(char) for char in caption if char.isalpha()]
    own = SCRIPTS.get(code)
    if own is None or not letters:
        return None
    share = sum(letter in own for letter in letters) / len(letters)
    if share == 0 and len(letters) <= 5 and set(letters) == {"LATIN"}:
        return None  # an abbreviation such as DVD, the same in every script
    return share


@cache
def _letter(char: str) -> str:
    return unicodedata.name(char, "unknown").split(" ")[0]


def relate(rows: Sequence[Row]) -> list[Row]:
    """For each row, the rows of other splits that it shares content, concept or caption with, but must not."""
    splits = {row["split"] for row in rows}
    others = splits - {"train"}
    by_concept = "concepts" in splits  # else all splits have the same concepts, as with digits
    pictures = _shared(rows, "content", others)
    concepts = _shared(rows, "concept", {"concepts", "judge"} if by_concept else set())
    captions = _shared(rows, "english", others if by_concept else set())
    near = _near(rows)
    return [
        {
            "row": row["row"],
            "key": row["key"],
            "same_picture": pictures[place],
            "near_picture": None if pictures[place] else near[place],
            "same_concept": concepts[place],
            "same_caption": captions[place],
        }
        for place, row in enumerate(rows)
    ]


def _shared(rows: Sequence[Row], column: str, judged: set[str]) -> list[str | None]:
    """For each row of the judged splits, the first row of another split with the same value."""
    owners: dict[str, dict[str, str]] = defaultdict(dict)
    for row in rows:
        if row[column] is not None:
            owners[row[column]].setdefault(row["split"], row["row"])
    return [
        next((name for split, name in owners[row[column]].items() if split != row["split"]), None)
        if row["split"] in judged and row[column] is not None
        else None
        for row in rows
    ]


def _near(rows: Sequence[Row]) -> list[str | None]:
    """For each row outside `train`, a row of another split that shows nearly the same."""
    found: list[str | None] = [None] * len(rows)
    places = [place for place, row in enumerate(rows) if row["thumbnail"] is not None]
    if not places:
        return found
    thumbnails = np.stack([rows[place]["thumbnail"] for place in places])
    splits = np.array([rows[place]["split"] for place in places])
    for split in sorted(set(splits) - {"train"}):
        mine = np.flatnonzero(splits == split)
        left_out = ALIKE if split in ALIKE else {split}
        theirs = np.flatnonzero(~np.isin(splits, sorted(left_out)))
        for i, j in sorted(pairs(thumbnails[mine], thumbnails[theirs])):
            if found[places[mine[i]]] is None:
                found[places[mine[i]]] = rows[places[theirs[j]]]["row"]
    return found


def words(value: object) -> str | None:
    """A text that says something and is clean; None for anything else."""
    return value if isinstance(value, str) and value.strip() and not text.bad_character(value) else None
