"""Roots: the folder that runs work in, and the store that it is a copy of, where there is one.

    runs/                                 a folder and nothing else
    s3://bucket/prefix                    a folder below MMGEN_CACHE (.cache when unset) with `remote.json`, which names
                                          the store; everything sealed goes there, and comes from there when it is
                                          not in the folder

Whoever holds such a folder can ask for its store, so only the border, where a place is given as text, knows of both.
"""

from __future__ import annotations

import os
from pathlib import Path

from mmgen.files import digest, read_json, write_json
from mmgen.ops.storage.objects import SCHEME, ObjectStore

REMOTE = "remote.json"


def open_root(place: str) -> Path:
    """The folder for a root or a data root that was given as text: a path, or `s3://bucket/prefix`.

    Raises:
        ConfigError: it begins like the address of a store, and is none.
        StorageError: the folder cannot be made.
    """
    if not place.startswith(SCHEME):
        return Path(place)
    url = ObjectStore.at(place).url
    folder = cache() / "roots" / digest(url)[:16]
    if not (folder / REMOTE).is_file():
        write_json(folder / REMOTE, {"url": url})
    return folder


def cache() -> Path:
    """Folder of what can be fetched or made again: MMGEN_CACHE, else `.cache` where the process was started."""
    return Path(os.environ.get("MMGEN_CACHE", ".cache"))


def address(root: Path) -> str:
    """The address of a root or data root: what leaves this process, in parameters, arguments, artifacts and tags.

    For a root with a store this is `s3://bucket/prefix`, else the absolute path of the folder.

    Raises:
        ValueError: `root` is a folder inside of a mirror, which only this machine has; name the root itself.
    """
    if store := store_of(root):
        return store.url
    if any((parent / REMOTE).is_file() for parent in root.absolute().parents):
        raise ValueError(f"{str(root)!r} lies inside a mirror of a store and has no address of its own")
    return str(root.absolute())  # links stay, which pods may follow elsewhere


def store_of(root: Path) -> ObjectStore | None:
    """The store that a folder is a copy of; None for a folder that is only a folder."""
    mark = root / REMOTE
    return ObjectStore.at(read_json(mark)["url"]) if mark.is_file() else None
