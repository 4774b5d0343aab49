"""A run: its recipe, data, keys and places, known before any of it has run."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmgen import recipes
from mmgen.errors import DataError
from mmgen.files import open_sealed
from mmgen.ops.runs.cache import flaw, place, sealed_output, workplace
from mmgen.ops.runs.keys import CODE, RULES, Keys, stage_keys
from mmgen.ops.storage.folders import drop_folder
from mmgen.ops.storage.roots import store_of


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
        return workplace(self.folder(stage)) / "out"

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


def find_output(run: Run, stage: str) -> Path | None:
    """The output of `stage`, every byte held against its seal; None when nobody has made it.

    What another machine has sealed is fetched first: whoever waits for other pods has to ask here.

    Raises:
        StorageError: the store refuses; another process is at it.
    """
    folder = sealed_output(run.root, stage, run.keys.stages[stage])
    return folder if folder is not None and flaw(folder) is None else None


def throw_away(run: Run, stage: str) -> None:
    """Remove the output of a stage, so that it is made again, here and in the root's store."""
    if (store := store_of(run.root)) is not None:
        drop_folder(store, place(stage, run.keys.stages[stage]))
    shutil.rmtree(run.folder(stage), ignore_errors=True)


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
