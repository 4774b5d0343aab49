"""Stage `report`: everything about the run on one page."""

from __future__ import annotations

from pathlib import Path

from mmgen.files import read_json
from mmgen.ops.runs import ledger
from mmgen.ops.runs.cache import StageResult, sealed_output
from mmgen.ops.runs.keys import STAGES
from mmgen.ops.runs.run import Run
from mmgen.ops.stages.stage import make
from mmgen.ops.tracking.tracked import Tracked
from mmgen.progress import Progress


def report(run: Run, progress: Progress, *, kfp_run: str = "") -> StageResult:
    """Write `report.html`: everything about the run on one page."""
    from mmgen.evaluation.report.report import write_report
    from mmgen.ops.stages import drift

    def fill(out: Path, _: Tracked) -> None:
        folders = {stage: run.folder(stage) for stage in STAGES if stage != "report"}
        compared = run.folder("gate") / "champion.json"
        if compared.is_file():
            scores = read_json(compared)["scores"]
            sealed_output(run.root, "evaluate", scores)
            if (folder := run.root / "stages" / "evaluate" / scores).joinpath("metrics.json").is_file():
                folders["champion"] = folder  # else it could not be scored, and the verdict says why
        spent = ledger.cost(run).text()
        facts = {**run.facts("report"), "kfp_run": kfp_run, "cost": spent, "drift": drift.found(run)}
        write_report(run.recipe, run.data_folder, folders, out, facts=facts)

    return make(run, "report", progress, kfp_run, fill)
