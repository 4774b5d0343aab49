"""Comparison of two models: scores with intervals and paired differences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmgen.errors import ConfigError
from mmgen.files import SEAL, is_sealed, open_sealed, read_json
from mmgen.recipes import NAMES
from pipelines.choices import model_folder
from pipelines.studies.trained import evaluation_of


def find(root: Path, wanted: str) -> Path:
    """Sealed folder of scores for what a user names.

    Args:
        wanted: a recipe (`emoji`, `emoji@pets`), whose champion is meant; a sealed folder of stage `evaluate` or
            `train`; a model version (`mmgen-emoji/3`), a run key, or any other id of a run.

    Raises:
        ConfigError: no such run, or its scores are no longer there.
        StorageError: the folder is not sealed, or was altered.
    """
    if wanted.partition("@")[0] in NAMES:
        return _of_model(model_folder("champion", wanted, root), root, wanted)
    if Path(wanted).is_dir():
        folder = Path(wanted)
        open_sealed(folder)
        return folder if (folder / "metrics.json").is_file() else _of_model(folder / "model", root, wanted)
    from mmgen.ops.registry.lineage import lineage

    run_key = lineage(root, wanted).run_key
    for seal in sorted((root / "stages" / "register").glob(f"*/{SEAL}")):
        content = read_json(seal)
        if content["run_key"] == run_key:
            folder = root / "stages" / "evaluate" / content["parts"]["inputs"]["evaluate"]
            if is_sealed(folder):
                return folder
    raise ConfigError(f"the scores of {wanted!r} (run key {run_key}) are not in {str(root)!r}; run its recipe again")


def _of_model(model: Path, root: Path, wanted: str) -> Path:
    folder, _ = evaluation_of(model.resolve(), root)
    if folder is None:
        raise ConfigError(f"the scores of {wanted!r} are not in {str(root)!r}; run its recipe again")
    return folder


def scores(first: Path, second: Path) -> dict[str, dict[str, Any]]:
    """Metric -> the scores of both and, where both were asked the same prompts, the paired difference B - A."""
    import numpy as np

    from mmgen.evaluation.metrics.bootstrap import difference_interval

    a, b = read_json(first / "metrics.json"), read_json(second / "metrics.json")
    each_a, each_b = read_json(first / "scores.json"), read_json(second / "scores.json")
    rows: dict[str, dict[str, Any]] = {}
    for name in sorted(a.keys() | b.keys()):
        rows[name] = {"a": a.get(name), "b": b.get(name), "difference": None}
        if name in each_a and name in each_b and same_prompts(first, second, name, len(each_a[name])):
            found = difference_interval(each_b[name], each_a[name], np.random.default_rng(0))
            rows[name]["difference"] = found._asdict()
    return rows


def same_prompts(first: Path, second: Path, metric: str, count: int) -> bool:
    """Whether both were asked the same things, of the same data, for a metric that has `count` values in A.

    A metric whose name ends in a split (`text.exact_seen`) was asked that split; another one a list that is as long.
    """
    if read_json(first / SEAL)["data_version"] != read_json(second / SEAL)["data_version"]:
        return False
    a, b = read_json(first / "prompts.json"), read_json(second / "prompts.json")
    named = [split for split in a if metric.endswith(f"_{split}")] or list(a)
    asked = [split for split in named if len(a[split]) == count]
    return bool(asked) and all(a[split] == b.get(split) for split in asked)


def table(rows: dict[str, dict[str, Any]], names: tuple[str, str]) -> list[tuple[str, ...]]:
    """The comparison as rows; a difference whose interval excludes zero is marked with a star."""
    lines = [("score", *names, "difference (95 %)")]
    for name, row in rows.items():
        found = row["difference"]
        star = " *" if found and (found["low"] > 0 or found["high"] < 0) else ""
        difference = f"{found['value']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}]{star}" if found else ""
        lines.append((name, _cell(row["a"]), _cell(row["b"]), difference))
    return lines


def _cell(score: dict[str, float] | None) -> str:
    return f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]" if score else "-"
