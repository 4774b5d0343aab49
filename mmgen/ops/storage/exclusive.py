"""Small objects that are put once: the ground under claims and under the log of promotions.

A shelf makes one promise, which a folder and S3 both keep: of many who add an object of one name at the same moment,
exactly one succeeds. What is there is never changed.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Protocol

from mmgen.errors import StorageError
from mmgen.files import refusal
from mmgen.ops.storage.objects import ObjectStore
from mmgen.ops.storage.roots import store_of

SHELF = "shelf"


class Shelf(Protocol):
    """Where small objects are put once."""

    def add(self, name: str, content: bytes) -> bool:
        """Put an object; False when one of that name is there, which then stays as it is."""

    def read(self, name: str) -> bytes | None:
        """Content of an object; None when there is none."""

    def names(self, prefix: str) -> list[str]:
        """Names below `prefix`, sorted."""


class FolderShelf:
    """A shelf in a folder of this machine, or of a volume that several mount.

    Args:
        folder: made when the first object is put.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, name: str, content: bytes) -> bool:
        """As of `Shelf`.

        Raises:
            StorageError: the disk refuses.
        """
        path = self._folder / name
        scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with scratch.open("wb") as file:
                file.write(content)
                os.fsync(file.fileno())
            scratch.chmod(0o644)
            # A link is made or refused as one step, also over NFS; a rename would replace what is there.
            os.link(scratch, path)
        except FileExistsError:
            return False
        except OSError as error:
            raise StorageError(refusal(path, error)) from error
        finally:
            scratch.unlink(missing_ok=True)
        return True

    def read(self, name: str) -> bytes | None:
        """As of `Shelf`."""
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def names(self, prefix: str) -> list[str]:
        """As of `Shelf`."""
        folder = self._folder / prefix
        found = folder.iterdir() if folder.is_dir() else ()
        return sorted(f"{prefix}/{path.name}" for path in found if not path.name.startswith("."))


class StoreShelf:
    """A shelf in an object store.

    Args:
        store: its conditional put keeps the promise.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def add(self, name: str, content: bytes) -> bool:
        """As of `Shelf`; for the very bytes that are there it is True, since a lost answer looks like that too.

        Raises:
            StorageError: the store refuses.
        """
        return self._store.put_bytes(content, f"{SHELF}/{name}", if_absent=True) is not None

    def read(self, name: str) -> bytes | None:
        """As of `Shelf`.

        Raises:
            StorageError: the store refuses.
        """
        key = f"{SHELF}/{name}"
        return self._store.get_bytes(key)[0] if self._store.exists(key) else None

    def names(self, prefix: str) -> list[str]:
        """As of `Shelf`.

        Raises:
            StorageError: the store refuses.
        """
        return sorted(key.removeprefix(f"{SHELF}/") for key in self._store.keys(f"{SHELF}/{prefix}/"))


def shelf(root: Path) -> Shelf:
    """The shelf that everybody who works below `root` shares: in the root's store, where it has one."""
    store = store_of(root)
    return StoreShelf(store) if store else FolderShelf(root / SHELF)
