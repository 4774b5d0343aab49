"""How a model is judged, and by whom."""

from __future__ import annotations

from dataclasses import dataclass

from mmgen.errors import ConfigError, unknown

TASKS = {
    "captioned": "mmgen.evaluation.tasks.captioned",
    "captions": "mmgen.evaluation.tasks.captions",
    "samples": "mmgen.evaluation.tasks.samples",
    "latent": "mmgen.evaluation.tasks.latent",
    "transcripts": "mmgen.evaluation.tasks.transcripts",
    "speech": "mmgen.evaluation.tasks.speech",
    "tunes": "mmgen.evaluation.tasks.tunes",
    "rolls": "mmgen.evaluation.tasks.rolls",
    "transfer": "mmgen.evaluation.tasks.transfer",
    "coherence": "mmgen.evaluation.tasks.coherence",
    "rewriting": "mmgen.evaluation.tasks.rewriting",
    "answers": "mmgen.evaluation.tasks.answers",
    "motion": "mmgen.evaluation.tasks.motion",
}
"""What can be asked of a model -> the module whose `evaluate(subject)` asks it. To add one, add its line."""

JUDGES = {
    "views": "mmgen.evaluation.judges.views_judge",
    "classes": "mmgen.evaluation.judges.class_judge",
    "concepts": "mmgen.evaluation.judges.concept_judge",
    "frames": "mmgen.evaluation.judges.frame_judge",
    "hearing": "mmgen.evaluation.judges.hearing_judge",
    "none": "mmgen.evaluation.judges.no_judge",
}
"""Who judges -> the module whose `train_judge` makes it. To add one, add its line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeConfig:
    """Who scores what a model makes; a network of ours learns from the `judge` split only."""

    kind: str = "views"
    """Name in `JUDGES`."""
    steps: int = 300
    batch: int = 128
    width: int = 32
    """Channels of its first convolution."""
    features: int = 128
    """Numbers per picture."""
    seed: int = 7
    """Apart from the run's seed, so that all runs on one data set share one judge."""
    probes: int = 1000
    """Most things that its own accuracy is measured on."""

    def __post_init__(self) -> None:
        if self.kind not in JUDGES:
            raise ConfigError(unknown("judge.kind", self.kind, JUDGES))
        for name in ("steps", "batch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"judge.{name} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationConfig:
    """Sizes of the evaluation; every score is reported with its n and a 95 % interval."""

    task: str = "captioned"
    """Name in `TASKS`."""
    seen: int = 600
    """Samples of the training split to score."""
    samples: int = 1000
    """Things to make where nothing is asked for, and most prompts of a long split to score."""
    resamples: int = 1000
    """Bootstrap resamples behind each interval."""
    options: tuple[str, ...] = ()
    """What the model is told when it is sampled, such as `steps=4,guidance=1.5`, instead of its own values."""
    seed: int = 1
    """Noise of the evaluated samples: the same for champion and challenger."""

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ConfigError(unknown("evaluation.task", self.task, TASKS))
        if self.samples < 20:
            raise ConfigError(f"evaluation.samples must be at least 20 for a meaningful interval, got {self.samples}")
        if self.seen < 50:
            raise ConfigError(f"evaluation.seen must be at least 50 for a meaningful interval, got {self.seen}")
