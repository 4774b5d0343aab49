"""First weights: which model a training starts from, by a key that says what is in it.

A run's settings name it as `training.init_from=<key of a training>`, so that the run's own key depends on its bytes
wherever it came from, and every stage finds it below the run's root.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from mmgen.errors import ConfigError, StorageError
from mmgen.files import is_sealed, open_sealed
from mmgen.models import CONFIG, WEIGHTS
from mmgen.ops.registry import registry
from mmgen.ops.runs.cache import run_stage, sealed_output
from mmgen.ops.runs.keys import LENGTH
from mmgen.ops.tracking.tracked import model_sha256
from mmgen.recipes import NAMES, Recipe, get

CHAMPION = "champion"


def setting(root: Path, wanted: str, recipe: str) -> str:
    """The setting that lets a run of `recipe` start from what is `wanted`.

    Args:
        wanted: `champion` of the recipe on its usual data; RECIPE or RECIPE@DATA for the champion of that; or
            the folder of a model, or of a training.

    Raises:
        ConfigError: there is no such model.
        StorageError: its files are not those that were registered or sealed.
    """
    name, at, data = wanted.partition("@")
    if wanted == CHAMPION or name in NAMES:
        chosen = get(recipe if wanted == CHAMPION else name, [f"data.name={data}"] if at else [])
        found = registry.champion(root, registry.model_name(chosen))
        if found is None:
            raise ConfigError(
                f"{registry.model_name(chosen)} has no champion to start from; "
                f"run: mmgen run {chosen.name}{f' --set data.name={data}' if at else ''}"
            )
        return f"training.init_from={_adopt(root, found[1])}"
    folder = Path(wanted)
    if is_sealed(folder):
        open_sealed(folder)
    inner = folder / "model" if (folder / "model").is_dir() else folder
    if not (inner / CONFIG).is_file() or not (inner / WEIGHTS).is_file():
        raise ConfigError(
            f"--init-from {wanted!r} is no model: name a folder with {CONFIG} and {WEIGHTS}, {CHAMPION!r} or a recipe"
        )
    return f"training.init_from={_adopt(root, inner)}"


def initial_model(root: Path, recipe: Recipe) -> Path | None:
    """Folder of the model that the recipe's training starts from; None for one that starts from random weights.

    Raises:
        StorageError: it is not below `root`, or was altered.
    """
    key = recipe.training.init_from
    if not key:
        return None
    folder = sealed_output(root, "train", key)
    if folder is None:
        raise StorageError(f"the first weights, training {key} below {str(root)!r}, are not there; see --init-from")
    open_sealed(folder)
    return folder / "model"


def _adopt(root: Path, model: Path) -> str:
    """The key of the training that made `model`; one that was not made below `root` is copied there, under a key made
    of its bytes."""
    training = model.parent
    if training.parent.resolve() == (root / "stages" / "train").resolve() and is_sealed(training):
        open_sealed(training)
        return training.name
    sha256 = model_sha256(model)
    facts = {"stage": "train", "recipe": "", "parts": {}, "adopted": sha256}
    run_stage("train", sha256[:LENGTH], root, lambda out: shutil.copytree(model, out / "model"), facts=facts)
    return sha256[:LENGTH]
