"""Stage `gate`: hold the model against the champion, both scored on the same prompts."""

from __future__ import annotations

import tempfile
from pathlib import Path

from mmgen.files import is_sealed, write_json
from mmgen.ops.gate.gate import Champion, Evaluation, decide
from mmgen.ops.gate.rules import read_rules, section
from mmgen.ops.runs.cache import StageResult
from mmgen.ops.runs.keys import RULES
from mmgen.ops.runs.run import Run, find_output
from mmgen.ops.stages.scores import scores_folder, scores_of
from mmgen.ops.stages.stage import make
from mmgen.progress import Progress


def gate(run: Run, progress: Progress, *, kfp_run: str = "") -> StageResult:
    """Compare with the champion, scored again on this run's prompts; also writes `champion.json` when there is one."""
    return make(run, "gate", progress, kfp_run, lambda out, _: _decide(run, progress, out))


def score_for_gate(run: Run, progress: Progress) -> None:
    """Ask the champion, and both in further rounds, for every score that the gate will want.

    The gate decides where there is no torch: it finds these scores sealed.
    """
    if find_output(run, "gate") is None:
        with tempfile.TemporaryDirectory() as aside:
            _decide(run, progress, Path(aside))


def _decide(run: Run, progress: Progress, out: Path) -> None:
    from mmgen.ops.registry.registry import champion, model_name

    def evaluation(model: Path, train_key: str) -> Evaluation:
        return lambda number: scores_of(run, model, train_key, progress, number)

    asked = read_rules(RULES, section(run.recipe))
    ours = evaluation(run.folder("train") / "model", run.keys.stages["train"])
    found = champion(run.root, model_name(run.recipe))
    if found is None:
        decide(ours, None, asked, out)
        return
    version, model = found
    theirs = evaluation(model, version.tags["mmgen.train_key"])
    decide(ours, Champion(version=version.version, scored=theirs), asked, out)
    scores = scores_folder(run, version.tags["mmgen.train_key"])
    if is_sealed(scores):
        write_json(out / "champion.json", {"version": version.version, "scores": scores.name})
