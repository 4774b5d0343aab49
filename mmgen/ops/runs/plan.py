"""What a run would do now, stage by stage, and why."""

from __future__ import annotations

from mmgen.files import SEAL, is_sealed, read_json
from mmgen.ops.runs.cache import flaw, place, scratch
from mmgen.ops.runs.keys import STAGES, changes
from mmgen.ops.runs.run import Run
from mmgen.ops.storage.roots import store_of


def plan(run: Run) -> dict[str, list[str]]:
    """Why each stage of `run` would run, in order; an empty list for a stage that is done.

    The reasons come from a comparison with the newest sealed output of that stage and recipe.
    """
    store = store_of(run.root)

    def done(stage: str) -> bool:
        there = f"{place(stage, run.keys.stages[stage])}/{SEAL}"
        return flaw(run.folder(stage)) is None or (store is not None and store.exists(there))

    return {stage: [] if done(stage) else _reasons(run, stage) for stage in STAGES}


def _reasons(run: Run, stage: str) -> list[str]:
    folder = run.folder(stage)
    if folder.exists():
        return [flaw(folder) or "made in the meantime"]
    if scratch(run.unfinished(stage)).is_dir():
        return ["started before, not finished"]
    seals = [other / SEAL for other in folder.parent.glob("*") if not other.suffix and is_sealed(other)]
    for path in sorted(seals, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        old = read_json(path)
        if old.get("recipe") == run.recipe.name and "scores_of" not in old:
            return changes(old["parts"], run.keys.parts[stage])
    return ["never run"]
