"""What a look at each sample of a data set saw, kept beside the data set so that no picture is decoded twice.

`<root>/.<name>.seen/` is sealed, no part of the data set or its version, and may be deleted at any time. What it holds
is found by the sha256 of a shard, and serves only for a shard whose bytes have that sha256 still.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmgen.data.changes.near_duplicates import THUMBNAIL
from mmgen.data.dataset import Dataset
from mmgen.data.imports.look import look_at_parts
from mmgen.data.shards import Shard, read_shard
from mmgen.data.worker_pool import Crew
from mmgen.errors import DataError, StorageError
from mmgen.files import open_sealed, seal, sha256_file
from mmgen.progress import Progress

FILE = "seen.safetensors"
_DIGEST, _NUMBERS = 32, 3 * THUMBNAIL**2


@dataclass(frozen=True, slots=True)
class Seen:
    """One sample."""

    key: str
    split: str
    digest: bytes
    """Of its media."""
    captions: Mapping[str, str]
    thumbnail: NDArray[np.uint8] | None


Shards = Mapping[str, Sequence[Seen]]
"""Samples by the sha256 of their shard."""


def media_digest(digests: Mapping[str, bytes]) -> bytes:
    """One sha256 from those of each part."""
    return hashlib.sha256(b"".join(digests[ending] for ending in sorted(digests))).digest()


def see(dataset: Dataset, known: Shards, crew: Crew, progress: Progress) -> dict[str, list[Seen]]:
    """All samples of a data set; of shards in `known` only the sha256 is checked.

    Raises:
        DataError: a shard is missing or altered.
    """
    tasks = [
        [(dataset.folder, split, shard, shard.sha256 in known)]
        for split, shards in dataset.card.splits.items()
        for shard in shards
    ]
    found: dict[str, list[Seen]] = {}
    progress.start(f"read {dataset.folder.name}", len(tasks), "shards")
    for count, (place, (samples,)) in enumerate(crew.map(see_shards, tasks), 1):
        _, split, shard, is_known = tasks[place][0]
        if samples is None:
            raise DataError(f"reading {str(dataset.folder / shard.file)!r} ended its process; is there enough memory?")
        if is_known:
            samples = [Seen(one.key, split, one.digest, one.captions, one.thumbnail) for one in known[shard.sha256]]
        found[shard.sha256] = samples
        progress.update(count)
    progress.done()
    return found


def see_shards(tasks: Sequence[tuple[Path, str, Shard, bool]]) -> list[list[Seen]]:
    """The samples of each shard; none of one that is known, if its bytes are what they were."""
    found: list[list[Seen]] = []
    for folder, split, shard, known in tasks:
        path = folder / shard.file
        if known and path.is_file() and not path.is_symlink() and sha256_file(path) == shard.sha256:
            found.append([])
            continue
        samples = []
        for sample in read_shard(path, shard):
            look = look_at_parts(sample.parts)
            thumbnail = None if look.thumbnail is None else np.frombuffer(look.thumbnail, np.uint8)
            samples.append(Seen(sample.key, split, media_digest(look.digests), sample.captions(), thumbnail))
        found.append(samples)
    return found


def keep(folder: Path, shards: Shards) -> None:
    """Put what was seen beside data set `folder`; where nothing can be written, nothing is kept."""
    from safetensors.numpy import save_file

    arrays: dict[str, NDArray[np.uint8]] = {}
    for sha256, samples in shards.items():
        pictured = [one.thumbnail for one in samples if one.thumbnail is not None]
        if 0 < len(pictured) < len(samples):
            continue  # not worth a layout of its own
        facts = json.dumps([[one.key, dict(one.captions)] for one in samples], ensure_ascii=False)
        arrays[f"{sha256}.facts"] = np.frombuffer(facts.encode(), np.uint8)
        arrays[f"{sha256}.digests"] = np.frombuffer(b"".join(one.digest for one in samples), np.uint8)
        arrays[f"{sha256}.thumbnails"] = np.concatenate([*pictured, np.empty(0, np.uint8)])
    target = _beside(folder)
    scratch = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
    try:
        scratch.mkdir()
        save_file(arrays, scratch / FILE)
        seal(scratch)
        shutil.rmtree(target, ignore_errors=True)
        scratch.rename(target)
    except (OSError, StorageError):
        shutil.rmtree(scratch, ignore_errors=True)


def kept(folder: Path) -> dict[str, list[Seen]]:
    """What is kept beside data set `folder`; nothing where it is missing, altered, or of another layout."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    found: dict[str, list[Seen]] = {}
    with contextlib.suppress(StorageError, OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError):
        open_sealed(_beside(folder))
        arrays = load_file(_beside(folder) / FILE)
        for sha256 in sorted({name.partition(".")[0] for name in arrays}):
            facts = json.loads(arrays[f"{sha256}.facts"].tobytes())
            digests = arrays[f"{sha256}.digests"].reshape(len(facts), _DIGEST)
            thumbnails = arrays[f"{sha256}.thumbnails"].reshape(-1, _NUMBERS)
            if len(thumbnails) not in (0, len(facts)):
                raise ValueError("thumbnails of some samples alone")
            found[sha256] = [
                Seen(str(key), "", digests[row].tobytes(), dict(captions), thumbnails[row] if len(thumbnails) else None)
                for row, (key, captions) in enumerate(facts)
            ]
    return found


def _beside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.seen")
