"""A trained model judged on another data set of the same modalities, and the gap between the two.

The judge is the one of the model's own data, so that one instrument measures both. What split `seen` is at home was
learned; of the other data nothing was, whatever the split is called.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mmgen.data.dataset import data_version, load
from mmgen.errors import ConfigError
from mmgen.evaluation.metrics.bootstrap import gap_interval
from mmgen.files import read_json, write_json
from mmgen.ops.runs.cache import run_stage
from mmgen.ops.runs.keys import key_of
from mmgen.ops.runs.run import Run
from mmgen.progress import Progress


def elsewhere(run: Run, dataset: Path, progress: Progress) -> Path:
    """Sealed folder with the scores of the run's model on `dataset`, and in `gap.json` how they differ from home.

    Raises:
        ConfigError: the data set lacks modalities or languages of the run's.
        DataError: it is not a data set.
    """
    from mmgen.evaluation import evaluate as evaluation

    home, card = load(run.data_folder).card, load(dataset).card
    lacking = [name for name in home.modalities if name not in card.modalities]
    lacking += [
        f"captions in {code}" for code in run.recipe.data.languages if home.languages and code not in card.languages
    ]
    if lacking:
        raise ConfigError(f"{str(dataset)!r} has no {', '.join(lacking)}; a model is judged on data of its own kind")
    version = data_version(dataset)
    parts = {**run.keys.parts["evaluate"], "on": version}
    facts = {**run.facts("evaluate"), "key": key_of(parts), "parts": parts, "scores_of": run.keys.stages["train"]}

    def fill(out: Path) -> None:
        model = run.folder("train") / "model"
        evaluation.evaluate(model, run.folder("judge"), dataset, run.recipe, out, progress)
        write_json(out / "gap.json", {"home": run.recipe.data.name, "there": card.name, "metrics": gap(run, out)})

    return run_stage("evaluate", key_of(parts), run.root, fill, facts={**facts, "data_version": version}).folder


def gap(run: Run, there: Path) -> dict[str, dict[str, Any]]:
    """Metric -> its value at home and there, and the difference with its interval; metrics that both have."""
    home = run.folder("evaluate")
    a, b = read_json(home / "scores.json"), read_json(there / "scores.json")
    here, other = read_json(home / "metrics.json"), read_json(there / "metrics.json")
    return {
        name: {
            "home": here[name],
            "there": other[name],
            "gap": gap_interval(b[name], a[name], np.random.default_rng(0))._asdict(),
        }
        for name in a
        if name in b
    }
