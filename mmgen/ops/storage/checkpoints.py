"""Checkpoints of a training in the root's store, so that a pod that is lost costs minutes and not the training.

    <store>/checkpoints/<key>/step-000500/...    a checkpoint, with what else the scratch folder held: rows, pictures

The training writes to its scratch folder and knows of nothing. A thread beside it looks for sealed checkpoints and
uploads the newest; a store that fails costs a warning a minute, and the next look tries again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from mmgen.errors import StorageError
from mmgen.files import is_sealed, seal
from mmgen.ops.storage.folders import drop_folder, pull_folder, push_folder, sealed_below
from mmgen.ops.storage.objects import ObjectStore
from mmgen.ops.storage.roots import store_of

KEEP = 2
"""Checkpoints that stay in the store."""
POLL_SECONDS = 2.0
WARN_SECONDS = 60.0
JOIN_SECONDS = 25.0
"""For the last upload of a training that is stopped; Kubernetes kills five seconds later."""


@contextlib.contextmanager
def mirrored(root: Path, key: str, scratch: Path) -> Iterator[None]:
    """Checkpoints that the block writes to `scratch` go to the root's store; before, the newest there is fetched.

    Args:
        key: of the training.

    Raises:
        StorageError: the store holds checkpoints, none of which can be had.
    """
    store = store_of(root)
    if store is None:
        yield
        return
    _fetch(store, _name(key), scratch)
    pusher = _Pusher(store, _name(key), scratch)
    pusher.start()
    try:
        yield
    except BaseException:
        pusher.end(push=True)
        raise
    pusher.end(push=False)  # what was trained is sealed next: no checkpoint is needed any more


def forget(root: Path, key: str) -> None:
    """Remove the checkpoints of a training whose output is in the store."""
    store = store_of(root)
    if store is None:
        return
    try:
        for step in sealed_below(store, _name(key)):
            drop_folder(store, f"{_name(key)}/{step}")
    except StorageError as error:
        print(f"mmgen: warning: checkpoints stay in the store: {error}", file=sys.stderr)


def _name(key: str) -> str:
    return f"checkpoints/{key}"


def _steps(scratch: Path) -> list[str]:
    """Names of sealed checkpoints, the oldest first."""
    return sorted(path.name for path in scratch.glob("step-*") if is_sealed(path))


def _fetch(store: ObjectStore, name: str, scratch: Path) -> None:
    """Bring the newest checkpoint that is whole into `scratch`, unless what is there is as new."""
    local = max(_steps(scratch), default="")
    failure: StorageError | None = None
    for step in reversed(sealed_below(store, name)):
        if step <= local:
            return
        fetched = _beside(scratch, ".fetched")
        try:
            if not pull_folder(store, f"{name}/{step}", fetched):
                continue
        except StorageError as error:
            print(f"mmgen: warning: checkpoint {step} is passed over: {error}", file=sys.stderr)
            failure = error
            continue
        # The checkpoint last: rows and pictures beyond it do no harm, ones that are missing before it would.
        for path in sorted(fetched.iterdir(), key=lambda path: path.name.startswith("step-")):
            there = scratch / path.name
            if there.is_dir():
                shutil.rmtree(there)
            path.replace(there)
        shutil.rmtree(fetched)
        return
    if failure is not None and not local:
        raise failure


class _Pusher(threading.Thread):
    """Uploads the newest checkpoint whenever there is a new one."""

    def __init__(self, store: ObjectStore, name: str, scratch: Path) -> None:
        super().__init__(name="checkpoints", daemon=True)
        self._store, self._name_there, self._scratch = store, name, scratch
        self._over = threading.Event()
        self._last_push = True
        self._done = max(_steps(scratch), default="")
        self._warned = -WARN_SECONDS

    def end(self, *, push: bool) -> None:
        """Stop looking; with `push` a checkpoint that is new still goes up, within JOIN_SECONDS."""
        self._last_push = push
        self._over.set()
        self.join(JOIN_SECONDS)
        if push and self.is_alive():
            self._warn("the last checkpoint did not reach the store in time; the one before it counts")

    def run(self) -> None:
        while True:
            over = self._over.wait(POLL_SECONDS)
            if over and not self._last_push:
                return
            try:
                self._push()
            except StorageError as error:
                self._warn(f"checkpoint not stored: {error}")
            except FileNotFoundError:
                pass  # the training removed an old one meanwhile: there is a newer one
            if over:
                return

    def _push(self) -> None:
        newest = max(_steps(self._scratch), default="")
        if newest <= self._done:
            return
        # Links and copies, since the training goes on: it removes old checkpoints and adds rows.
        held = _beside(self._scratch, ".held")
        try:
            shutil.copytree(self._scratch / newest, held / newest, copy_function=os.link)
            for path in self._scratch.iterdir():
                if path.is_dir() and not path.name.startswith("step-"):
                    shutil.copytree(path, held / path.name, ignore=shutil.ignore_patterns(".*"))
                elif path.is_file() and not path.name.startswith("."):
                    shutil.copy2(path, held / path.name)
            seal(held, step=newest)
            push_folder(self._store, held, f"{self._name_there}/{newest}")
        finally:
            shutil.rmtree(held, ignore_errors=True)
        self._done = newest
        for old in sealed_below(self._store, self._name_there)[:-KEEP]:
            drop_folder(self._store, f"{self._name_there}/{old}")

    def _warn(self, line: str) -> None:
        if time.monotonic() - self._warned >= WARN_SECONDS:
            self._warned = time.monotonic()
            print(f"mmgen: warning: {line} (the work goes on)", file=sys.stderr)


def _beside(scratch: Path, ending: str) -> Path:
    """An unused path on the same disk as `scratch` that outlives its workplace."""
    path = scratch.parent.with_suffix(ending)
    shutil.rmtree(path, ignore_errors=True)
    return path
