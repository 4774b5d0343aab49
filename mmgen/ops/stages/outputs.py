"""What finished stages of a run found, read from their sealed folders, and copies of it for others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from mmgen.errors import ConfigError, StorageError
from mmgen.files import is_sealed, read_json, refusal, write_bytes
from mmgen.ops.runs.cache import place
from mmgen.ops.runs.run import Run
from mmgen.ops.storage.roots import address

SHOWN = 15
"""Scores that fit the page of a Kubeflow task."""

_PARTS = {"": "value", "_low": "low", "_high": "high", "_n": "n"}


def write_pointer(run: Run, stage: str, target: str) -> None:
    """Write what Kubeflow keeps and shows of a stage's output: a small JSON with its key, version and address.

    The output itself stays below the root, sealed; the artifact's own `uri` belongs to Kubeflow, whose launcher opens
    it in the next task.
    """
    key = run.keys.stages[stage]
    where = f"{address(run.root)}/{place(stage, key)}"
    pointer = {"stage": stage, "key": key, "run_key": run.keys.run_key, "data_version": run.data_version}
    _write_json(target, {"address": where, **pointer})


def write_data_pointer(run: Run, target: str) -> None:
    """The same of the data set: its name, version and address."""
    name = run.recipe.data.name
    _write_json(target, {"address": f"{address(run.data_root)}/{name}", "name": name, "version": run.data_version})


def _write_json(target: str, value: dict[str, str]) -> None:
    write_bytes(Path(target), (json.dumps(value, indent=1) + "\n").encode())


def counts(run: Run) -> dict[str, float]:
    """Samples that were checked, expectations that were met, samples that were set aside."""
    found = read_json(run.folder("validate") / "validation.json")
    met = sum(expectation["success"] for expectation in found["expectations"])
    return {
        "samples": found["samples"],
        "expectations": len(found["expectations"]),
        "expectations_met": met,
        "quarantined": len(found["quarantined"]),
    }


def judge_scores(run: Run) -> dict[str, float]:
    """The judge's accuracy with its interval; nothing where there is no judge."""
    accuracy = read_json(run.folder("judge") / "judge.json").get("accuracy")
    if accuracy is None:
        return {}
    return {f"accuracy{end}": accuracy[name] for end, name in _PARTS.items()}


def training_figures(run: Run) -> dict[str, float]:
    """Steps, seconds, parameters and peak memory of the training."""
    figures = read_json(run.folder("train") / "training.json")
    return {name: value for name, value in sorted(figures.items()) if isinstance(value, int | float)}


def scores(run: Run) -> dict[str, dict[str, float]]:
    """Every score of the model with its interval and sample size."""
    found: dict[str, dict[str, float]] = read_json(run.folder("evaluate") / "metrics.json")
    return found


def headline(run: Run) -> dict[str, float]:
    """The scores shown first, in the order of the evaluation's task."""
    found = scores(run)
    return {name: found[name]["value"] for name, _ in headline_words(run)[:SHOWN]}


def headline_words(run: Run) -> list[tuple[str, str]]:
    """Scores to show first, each with a few words."""
    return [(name, what) for name, what in read_json(run.folder("evaluate") / "examples.json")["headline"]]


def first_pair(run: Run) -> tuple[list[str], str, str]:
    """What to ask the model first: its sources, its target, and something to say where text is a source."""
    shown = read_json(run.folder("evaluate") / "examples.json")
    source, target = shown["pairs"][0]
    titles = [tile["title"] for section in shown["sections"] for tile in section["tiles"]]
    return source.split(" and "), target, titles[0] if titles else "red heart"


def verdict(run: Run) -> dict[str, Any]:
    """The gate's decision, reasons and table."""
    found: dict[str, Any] = read_json(run.folder("gate") / "verdict.json")
    return found


def registered(run: Run) -> dict[str, Any]:
    """Name, number and aliases of the version, as they were when it was registered."""
    found: dict[str, Any] = read_json(run.folder("register") / "model.json")
    return found


def copy_page(run: Run, stage: str, name: str, target: str) -> None:
    """Copy a page of `stage` to where Kubeflow shows it; of a stage that failed, what it had written so far."""
    for folder in (run.folder(stage), run.unfinished(stage)):
        if (folder / name).is_file():
            write_bytes(Path(target), (folder / name).read_bytes())
            return


def copy_validation(run: Run, target: str) -> None:
    """Copy the page of stage `validate`, with what was found of a shift of the data."""
    from mmgen.data.changes.shift_page import shift_section
    from mmgen.ops.stages import drift

    copy_page(run, "validate", "validation.html", target)
    shift = shift_section(drift.found(run))
    if shift and Path(target).is_file():
        whole = Path(target).read_text(encoding="utf-8")
        write_bytes(Path(target), whole.replace("</main>", f"{shift}</main>").encode())


def copy_output(folder: Path, target: Path) -> None:
    """Copy the sealed `folder` to `target`, whole or not at all, in place of an earlier copy.

    Raises:
        ConfigError: `target` holds something else.
        StorageError: the disk refuses.
    """
    if target.exists() and not is_sealed(target) and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"{str(target)!r} exists and is no output of a stage; name another folder with --out")
    scratch_copy = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(scratch_copy, ignore_errors=True)
        shutil.copytree(folder, scratch_copy)
        if target.exists():
            shutil.rmtree(target)
        scratch_copy.rename(target)
    except OSError as error:
        raise StorageError(refusal(target, error)) from error
