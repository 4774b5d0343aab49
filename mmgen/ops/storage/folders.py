"""Sealed folders in an object store.

    <name>/SEAL.json            written last, and only when there is none: a folder without it does not exist
    <name>/<digest>/<file>      its files, below the first digits of the seal's own sha256

Two that make the same folder at once, with bytes that differ, so never write to each other's objects: the first seal
stands, and the other one takes what it says.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from mmgen.errors import StorageError
from mmgen.files import SEAL, read_json, write_bytes
from mmgen.ops.storage.objects import ObjectStore


def push_folder(store: ObjectStore, folder: Path, name: str) -> bool:
    """Upload a sealed folder; False when `name` was sealed before with other bytes, which then stand.

    Raises:
        StorageError: the store refuses, or a file is not what the seal says.
    """
    sealed = (folder / SEAL).read_bytes()

    def put(item: tuple[str, dict[str, Any]]) -> None:
        file, facts = item
        store.put_file(folder / file, f"{name}/{_place(sealed)}/{file}", sha256=facts["sha256"])

    _each(put, read_json(folder / SEAL)["files"], store.limits.threads)
    return store.put_bytes(sealed, f"{name}/{SEAL}", if_absent=True) is not None


def pull_folder(store: ObjectStore, name: str, final: Path) -> bool:
    """Download a sealed folder to `final`, which must not exist, every byte checked; False when there is none.

    Raises:
        StorageError: the store refuses, or holds other bytes than the seal says.
    """
    if not store.exists(f"{name}/{SEAL}"):
        return False
    sealed, _ = store.get_bytes(f"{name}/{SEAL}")
    files = _files(sealed, f"{store.url}/{name}/{SEAL}")
    scratch = final.with_name(final.name + ".pull")
    if scratch.exists():  # of one that was killed
        shutil.rmtree(scratch)

    def get(item: tuple[str, dict[str, Any]]) -> None:
        file, facts = item
        key = f"{name}/{_place(sealed)}/{file}"
        store.get_file(key, scratch / file, sha256=facts["sha256"], size=facts["bytes"])

    _each(get, files, store.limits.threads)
    write_bytes(scratch / SEAL, sealed)
    scratch.replace(final)
    return True


def sealed_below(store: ObjectStore, name: str) -> list[str]:
    """Names of the sealed folders directly below `name`, in order."""
    found = (re.fullmatch(rf"([^/]+)/{SEAL}", key.removeprefix(f"{name}/")) for key in store.keys(f"{name}/"))
    return sorted(match[1] for match in found if match)


def drop_folder(store: ObjectStore, name: str) -> None:
    """Remove a folder, its seal first, so that it is never sealed without its files."""
    store.delete(f"{name}/{SEAL}")
    for key in list(store.keys(f"{name}/")):
        store.delete(key)


def _each(action: Callable[[tuple[str, Any]], None], files: dict[str, Any], threads: int) -> None:
    """Do `action` for every file, several at once; after the first that fails no other one begins."""
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(action, item) for item in files.items()]
        try:
            for future in concurrent.futures.as_completed(futures):
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _place(sealed: bytes) -> str:
    return hashlib.sha256(sealed).hexdigest()[:16]


def _files(sealed: bytes, where: str) -> dict[str, dict[str, Any]]:
    """The files that a seal lists; it may come from anyone who can write to the bucket."""
    try:
        files = json.loads(sealed)["files"]
        for file, facts in files.items():
            path = PurePosixPath(file)
            if path.is_absolute() or ".." in path.parts or file == SEAL or path.as_posix() != file or "\0" in file:
                raise ValueError(f"{file!r} is no file below it")
            if not re.fullmatch("[0-9a-f]{64}", facts["sha256"]) or type(facts["bytes"]) is not int:
                raise ValueError(f"{file!r} has no sha256 or no size")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StorageError(f"{where!r} is no seal ({error}); delete it there and run its stage again") from error
    return dict(files)
