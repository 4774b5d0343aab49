"""Stages: run one under its key, once, and seal what it made.

    <root>/stages/train/0123456789abcdef/        sealed: the only thing that anybody reads
    <root>/stages/train/0123456789abcdef.work/   in progress: `out` (what will be sealed) and `scratch` (what
                                                 a killed run resumes from); kept when a stage fails
    <root>/stages/train/0123456789abcdef.lock    held while it runs; the kernel frees it when the holder dies

A stage that finds a sealed folder under its key returns it. A folder whose bytes no longer match their seal is
thrown away and made again. Where the root is a copy of a store (`mmgen.ops.storage.roots`), what is sealed there counts
as well: it is fetched, and what is made here is uploaded before it counts.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mmgen import recipes
from mmgen.errors import DataError, StorageError
from mmgen.files import is_sealed, open_sealed, refusal, seal
from mmgen.ops.runs.keys import CODE, RULES, Keys, stage_keys
from mmgen.ops.storage.folders import drop_folder, pull_folder, push_folder
from mmgen.ops.storage.locks import locked
from mmgen.ops.storage.roots import store_of

REFUSED = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
"""Errors of a disk that is full or not ours to write: the user's to mend, not a bug."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StageResult:
    """What became of one stage."""

    name: str
    state: Literal["ran", "cached"]
    folder: Path
    """Sealed."""
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """Everything that a run is made of, before any of it has run."""

    recipe: recipes.Recipe
    settings: tuple[str, ...]
    """The `section.field=value` overrides that were given."""
    root: Path
    """Folder or mirror (`mmgen.ops.storage.roots`) of everything that runs make."""
    data_root: Path
    """Folder or mirror of the data sets."""
    data_folder: Path
    """The data set on this machine: in `data_root`, or in its mirror."""
    data_version: str
    keys: Keys
    git_commit: str
    """Commit of the code, or "unknown" outside a clone."""
    git_dirty: bool
    """Whether the code differs from that commit."""

    def folder(self, stage: str) -> Path:
        """Where the sealed output of `stage` stands, or will."""
        return self.root / "stages" / stage / self.keys.stages[stage]

    def sealed(self, stage: str) -> Path:
        """The output of `stage`, every byte held against its seal: what another stage may read.

        Raises:
            StorageError: it is not whole.
        """
        open_sealed(self.folder(stage))
        return self.folder(stage)

    def unfinished(self, stage: str) -> Path:
        """What a stage that failed had written so far: not sealed, for people to look at."""
        return _workplace(self.folder(stage)) / "out"

    def facts(self, stage: str) -> dict[str, Any]:
        """Provenance for the seal of `stage`."""
        return {
            "data_version": self.data_version,
            "git_commit": self.git_commit,
            "git_dirty": self.git_dirty,
            "key": self.keys.stages[stage],
            "parts": self.keys.parts[stage],
            "recipe": self.recipe.name,
            "run_key": self.keys.run_key,
            "stage": stage,
        }


def open_run(recipe_name: str, settings: Sequence[str], root: Path, data_root: Path, rules: Path = RULES) -> Run:
    """Describe a run: recipe, data version and keys. Nothing is written, unless the data come from a store.

    Raises:
        ConfigError: unknown recipe or setting.
        DataError: the data set is not built.
        StorageError: the store of the data refuses.
    """
    from mmgen.data.dataset import data_version, load
    from mmgen.ops.runs.data_store import data_folder

    recipe = recipes.get(recipe_name, settings)
    folder = data_folder(data_root, recipe.data.name)
    if not (folder / "dataset.json").is_file():
        name = recipe.data.name
        raise DataError(f"data set {name!r} is not built ({str(folder)!r}); run: mmgen data build {name}")
    version = data_version(folder)
    commit, dirty = code_version()
    return Run(
        recipe=recipe,
        settings=tuple(settings),
        root=root,
        data_root=data_root,
        data_folder=folder,
        data_version=version,
        keys=stage_keys(recipe, version, load(folder).card.modalities, rules=rules),
        git_commit=commit,
        git_dirty=dirty,
    )


def run_stage(
    name: str, key: str, root: Path, work: Callable[[Path], object], *, facts: dict[str, Any], wait: float = 0
) -> StageResult:
    """Return the sealed output of a stage, making it with `work(out)` when there is none.

    Args:
        work: fills the empty folder `out`; may keep what it needs to resume in `scratch(out)`.
        facts: provenance for the seal.
        wait: seconds to wait for another process that makes the same output.

    Raises:
        StorageError: another process is at it; the disk is full or not writable; the root's store refuses.
        Whatever `work` raises; what it wrote is then left in `<key>.work` until the next try.
    """
    started = time.monotonic()
    final = root / "stages" / name / key
    if flaw(final) is None:
        with contextlib.suppress(OSError):  # a root that cannot be written still serves
            os.utime(final)  # used now: `mmgen gc` goes by it
        return StageResult(name=name, state="cached", folder=final, seconds=time.monotonic() - started)
    with _disk(final), locked(final, wait):
        problem = flaw(final)
        if problem is None:  # the process that was waited for has made it
            return StageResult(name=name, state="cached", folder=final, seconds=time.monotonic() - started)
        if final.exists():
            print(f"mmgen: stage {name} runs again: {problem}", file=sys.stderr)
            shutil.rmtree(final)
        store = store_of(root)
        if store is not None and pull_folder(store, place(name, key), final):
            return StageResult(name=name, state="cached", folder=final, seconds=time.monotonic() - started)
        out = _workplace(final) / "out"
        if flaw(out) is not None:  # else it was made before, and the store failed
            if out.exists():
                shutil.rmtree(out)
            scratch(out).mkdir(parents=True, exist_ok=True)
            out.mkdir()
            work(out)
            seal(out, **facts)
        if store is None or push_folder(store, out, place(name, key)):
            out.replace(final)
        else:  # another one was first: all take what it made
            pull_folder(store, place(name, key), final)
        shutil.rmtree(_workplace(final))
    return StageResult(name=name, state="ran", folder=final, seconds=time.monotonic() - started)


def sealed_output(root: Path, name: str, key: str, wait: float = 60) -> Path | None:
    """The sealed output of a stage, fetched from the root's store when it is only there; None when nobody made it.

    Raises:
        StorageError: the store refuses; another process is at it.
    """
    final = root / "stages" / name / key
    store = store_of(root)
    if not is_sealed(final) and store is not None:
        with _disk(final), locked(final, wait):
            if not is_sealed(final):
                pull_folder(store, place(name, key), final)
    return final if is_sealed(final) else None


def find_output(run: Run, stage: str) -> Path | None:
    """The output of `stage`, every byte held against its seal; None when nobody has made it.

    What another machine has sealed is fetched first: whoever waits for other pods has to ask here.

    Raises:
        StorageError: the store refuses; another process is at it.
    """
    folder = sealed_output(run.root, stage, run.keys.stages[stage])
    return folder if folder is not None and flaw(folder) is None else None


def scratch(out: Path) -> Path:
    """Folder beside a stage's `out` that outlives a kill and is removed once the stage is sealed."""
    return out.with_name("scratch")


def flaw(folder: Path) -> str | None:
    """None when every byte of `folder` matches its seal, else one line that says what is wrong."""
    try:
        open_sealed(folder)
    except StorageError as error:
        return str(error)
    return None


def throw_away(run: Run, stage: str) -> None:
    """Remove the output of a stage, so that it is made again, here and in the root's store."""
    if (store := store_of(run.root)) is not None:
        drop_folder(store, place(stage, run.keys.stages[stage]))
    shutil.rmtree(run.folder(stage), ignore_errors=True)


def place(stage: str, key: str) -> str:
    """Where the output of a stage lies in a store."""
    return f"stages/{stage}/{key}"


def _workplace(final: Path) -> Path:
    return final.with_name(final.name + ".work")


@contextlib.contextmanager
def _disk(path: Path) -> Iterator[None]:
    """A disk that refuses becomes one line with the way out; any other OSError is a bug and passes."""
    try:
        yield
    except OSError as error:
        if error.errno in REFUSED:
            named = Path(error.filename) if isinstance(error.filename, str) else path
            raise StorageError(refusal(named, error)) from error
        raise


def code_version() -> tuple[str, bool]:
    """Commit of the code and whether it was changed since; ("unknown", False) outside a clone and outside an image.

    An image holds no clone: its build sets MMGEN_GIT_COMMIT, with "-dirty" behind the commit where files differed. An
    image that was named without a digest (MMGEN_IMAGE_DEV) may hold anything.
    """
    if built := os.environ.get("MMGEN_GIT_COMMIT"):
        return built.removesuffix("-dirty"), built.endswith("-dirty") or "MMGEN_IMAGE_DEV" in os.environ

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(CODE), *words], check=False, capture_output=True, text=True, timeout=10
            )
        except (FileNotFoundError, subprocess.TimeoutExpired):  # no git in the image, a hanging file system
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    return (commit, bool(git("status", "--porcelain"))) if commit else ("unknown", False)
