"""One medium looked at: decoded once to know that it can be, measured, and named by its content.

Runs in processes of its own, many entries at a time; what comes back is small.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mmgen.data.changes.near_duplicates import THUMBNAIL
from mmgen.data.imports.entry import Entry
from mmgen.data.limits import FLAT, LENGTHS, SIDE
from mmgen.errors import DataError
from mmgen.modalities import image, media, video


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of one entry."""

    problem: str | None
    parts: dict[str, str]
    """Modality -> ending that its part gets."""
    digests: dict[str, bytes]
    """Modality -> sha256 of its bytes."""
    size: int
    """Bytes of all media."""
    thumbnail: bytes | None
    """(16, 16, 3) uint8 of its picture."""


def look_at(entries: Sequence[Entry]) -> list[Look]:
    """What each entry is."""
    return [_look(entry) for entry in entries]


def look_at_parts(parts: Mapping[str, bytes]) -> Look:
    """What a sample of a data set is; its parts were checked when they came."""
    seen = {ending: data for ending, data in parts.items() if ending not in ("json", "txt")}
    digests = {ending: hashlib.sha256(data).digest() for ending, data in seen.items()}
    pictures = [data for ending, data in seen.items() if ending in image.ENDINGS]
    thumbnail = None
    if pictures:
        with contextlib.suppress(DataError):  # a video has the ending of a picture
            thumbnail = image.glance(pictures[0], "it", THUMBNAIL)[1].tobytes()
    return Look(None, {}, digests, sum(map(len, seen.values())), thumbnail)


def _look(entry: Entry) -> Look:
    parts: dict[str, str] = {}
    digests: dict[str, bytes] = {}
    size, thumbnail = 0, None
    try:
        for modality, source in entry.media.items():
            data = source.read()
            size += len(data)
            digests[modality] = hashlib.sha256(data).digest()
            if modality == "image":
                parts[modality], thumbnail = _picture(data)
            else:
                parts[modality] = _other(modality, data)
    except DataError as error:
        return Look(str(error).removeprefix("'it': "), {}, {}, size, None)
    return Look(None, parts, digests, size, thumbnail)


def _picture(data: bytes) -> tuple[str, bytes]:
    header, small = image.glance(data, "it", THUMBNAIL)
    for side in (header.width, header.height):
        if not SIDE[0] <= side <= SIDE[1]:
            raise DataError(f"{header.width} x {header.height} pixels; want {SIDE[0]} to {SIDE[1]} each way")
    if int(small.max()) - int(small.min()) < FLAT and image.read(data, "it").std() < FLAT:
        raise DataError("one flat colour")
    return {"PNG": "png", "JPEG": "jpg"}.get(header.format, "webp"), small.tobytes()


def _other(modality: str, data: bytes) -> str:
    reader = media.module(modality)
    value = reader.read(data, "it")
    low, high, unit = LENGTHS[modality]
    length = len(value) / reader.RATE if modality == "sound" else len(value) if modality == "video" else len(data)
    if not low <= length <= high:
        raise DataError(f"{length:g} {unit}; want {low:g} to {high:g}")
    if isinstance(value, np.ndarray) and not value.std():
        raise DataError("silence" if modality == "sound" else "one flat colour")
    if modality == "sound":
        return {b"fL": "flac", b"Og": "ogg"}.get(data[:2], "wav")
    if modality == "video" and data[8:12] != b"WEBP":
        return f"{video.ENDING}!"  # written anew: parts of a data set are WebP
    return str(reader.ENDING)
