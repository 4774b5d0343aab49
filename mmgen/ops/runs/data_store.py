"""Data sets in an object store: fetched once for each version, checked against their card.

<data root>/emoji/dataset.json               the card; written last, so it speaks for what is there
<data root>/emoji/train-00000.tar ...        the shards that it lists
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from mmgen.data.dataset import CARD, load
from mmgen.errors import DataError
from mmgen.files import write_bytes
from mmgen.ops.storage.locks import locked
from mmgen.ops.storage.objects import ObjectStore
from mmgen.ops.storage.roots import store_of

WAIT_SECONDS = 600.0
"""For another process that fetches the same data set."""


def data_folder(data_root: Path, name: str) -> Path:
    """Folder of data set `name`: below `data_root`, or a checked copy of what `data_root`'s store holds now.

    Raises:
        DataError: the store has no such data set, or its card is none.
        StorageError: the store refuses, or a shard is not the one on the card.
    """
    store = store_of(data_root)
    if store is None:
        return data_root / name
    if not store.exists(f"{name}/{CARD}"):
        raise DataError(f"{store.url} has no data set {name!r}; put it there: mmgen data push {name} {store.url}")
    card, _ = store.get_bytes(f"{name}/{CARD}")
    folder = data_root / hashlib.sha256(card).hexdigest()[:16] / name
    if folder.is_dir():
        return folder
    with locked(folder, WAIT_SECONDS):
        if not folder.is_dir():
            scratch = folder.with_name(f"{name}.pull")
            shutil.rmtree(scratch, ignore_errors=True)
            write_bytes(scratch / CARD, card)
            for shards in load(scratch).card.splits.values():
                for shard in shards:
                    store.get_file(f"{name}/{shard.file}", scratch / shard.file, sha256=shard.sha256, size=shard.bytes)
            scratch.replace(folder)
    return folder


def push_data(folder: Path, place: str) -> str:
    """Upload a data set to the data root `place`, `s3://bucket/prefix`; returns its address there.

    Raises:
        DataError: the folder is not what its card says.
        StorageError: the store refuses.
    """
    store = ObjectStore.at(place)
    dataset = load(folder)
    dataset.verify()
    for shards in dataset.card.splits.values():
        for shard in shards:
            store.put_file(folder / shard.file, f"{folder.name}/{shard.file}", sha256=shard.sha256)
    store.put_bytes((folder / CARD).read_bytes(), f"{folder.name}/{CARD}")
    return f"{store.url}/{folder.name}"
