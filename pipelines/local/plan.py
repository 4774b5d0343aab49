"""What `mmgen run` would do now, stage by stage, and why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmgen import recipes
from mmgen.ops.runs.keys import STAGES
from mmgen.ops.runs.plan import plan as reasons_of
from mmgen.ops.runs.run import open_run


def missing_data(recipe: str, settings: Sequence[str], data_root: Path) -> str | None:
    """Name of the recipe's data set when it is not built yet.

    Raises:
        DataError: the data sets are in a store, which lacks it.
    """
    from mmgen.ops.runs.data_store import data_folder

    name = recipes.get(recipe, settings).data.name
    return None if (data_folder(data_root, name) / "dataset.json").is_file() else name


def plan(recipe: str, settings: Sequence[str], root: Path, data_root: Path) -> dict[str, Any]:
    """Run key, data version, and for each stage whether it is done and why it would run.

    Raises:
        ConfigError: unknown recipe or setting.
    """
    if name := missing_data(recipe, settings, data_root):
        stages = {stage: {"done": False, "reasons": [f"data set {name!r} is built first"]} for stage in STAGES}
        return {"recipe": recipe, "run_key": None, "data_version": None, "stages": stages}
    run = open_run(recipe, settings, root, data_root)
    stages = {stage: {"done": not why, "reasons": why} for stage, why in reasons_of(run).items()}
    return {"recipe": recipe, "run_key": run.keys.run_key, "data_version": run.data_version, "stages": stages}


def rows(planned: dict[str, Any]) -> list[tuple[str, ...]]:
    """The plan as a table; long lists of reasons are cut."""
    table = []
    for stage, entry in planned["stages"].items():
        why = entry["reasons"]
        more = f" (and {len(why) - 3} more)" if len(why) > 3 else ""
        table.append((stage, "done" if entry["done"] else "would run", "; ".join(why[:3]) + more))
    return table
