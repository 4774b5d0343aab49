"""Each stage's function by the stage's name, in the order of the pipeline."""

from __future__ import annotations

from collections.abc import Callable

from mmgen.ops.runs.cache import StageResult
from mmgen.ops.runs.run import Run
from mmgen.ops.stages.evaluate import evaluate
from mmgen.ops.stages.gate import gate
from mmgen.ops.stages.judge import judge
from mmgen.ops.stages.register import register
from mmgen.ops.stages.report import report
from mmgen.ops.stages.stage import watched_stage
from mmgen.ops.stages.train import train
from mmgen.ops.stages.validate import validate
from mmgen.progress import Progress

FUNCTIONS: dict[str, Callable[..., StageResult]] = {
    "validate": validate,
    "judge": judge,
    "train": train,
    "evaluate": evaluate,
    "gate": gate,
    "register": register,
    "report": report,
}
"""The function of each stage, in order."""

BEFORE = {
    "validate": (),
    "judge": ("validate",),
    "train": ("validate",),
    "evaluate": ("validate", "judge", "train"),
}
"""Stages that can be run by themselves, and what has to be done before."""


def run_up_to(stage: str, run: Run, progress: Progress) -> StageResult:
    """Run `stage` and what it reads, each unless it is done already."""
    for each in (*BEFORE[stage], stage):
        with watched_stage(each, run, progress) as seen:
            result = FUNCTIONS[each](run, seen)
    return result
