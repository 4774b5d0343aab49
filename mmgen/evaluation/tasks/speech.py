"""Task `speech`: a model that speaks, judged by a recogniser that never heard its sound.

Held-out prompts are spoken and written down by the hearing judge. Those made of words that training clips say show what
was understood of sentences; with the others the model must guess how a new word sounds. What the same recogniser makes
of the real clips, and of these after `log_mel` and `from_log_mel`, stands beside it: the judge stage measured that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmgen.data.corpus import load_corpus
from mmgen.evaluation.judges.hearing_judge import Heard, HearingJudge, character_error, phoneme_error
from mmgen.evaluation.metrics.cepstra import cepstral_distortion
from mmgen.evaluation.tasks.task import Findings, Section, Subject
from mmgen.examples import Example, spread
from mmgen.files import read_json
from mmgen.modalities.sound import log_mel
from mmgen.models.tts.spelling import words

HEADLINE = {
    "sound.cer_known": "characters heard wrong, new sentences of known words",
    "sound.cer_test": "the same, all held-out prompts",
    "sound.cer_real": "the same, the real clips",
    "sound.cer_vocoded": "the same, real clips after the vocoder",
    "sound.per_known": "phonemes heard wrong, new sentences of known words",
    "sound.per_test": "the same, all held-out prompts",
    "sound.per_real": "the same, the real clips",
    "sound.mcd_test": "mel cepstral distortion to the real clip, dB",
    "sound.mcd_vocoded": "the same, real clips after the vocoder",
    "sound.tempo_test": "length over that of the real clip",
    "judge.accuracy": "characters of real clips that the judge hears right",
}
SHOWN, FAILURES = 16, 12


@dataclass(frozen=True)
class Spoken:
    """A held-out prompt, said by a person and by the model."""

    caption: str
    real: NDArray[np.float32]
    made: NDArray[np.float32]
    heard: Heard
    """What the judge heard of the made one."""
    error: float
    """Character error rate of that."""
    known: bool
    """Training clips say all its words."""


def evaluate(subject: Subject) -> Findings:
    """Speak the held-out prompts and have them written down."""
    judge = HearingJudge()
    language = subject.recipe.data.languages[0]
    train, test = load_corpus(subject.dataset, "train"), load_corpus(subject.dataset, "test")
    test = test.take(spread(len(test), subject.recipe.evaluation.samples))
    captions, clips = test.captions(language), test.sounds()
    known = of_known_words(captions, train.captions(language))
    made = subject.model.generate(
        {"text": captions}, "sound", len(captions), seed=subject.recipe.evaluation.seed, options={}
    )
    scores: dict[str, list[float]] = {}
    spoken = []
    subject.progress.start("evaluate", len(captions), "prompts")
    for number, (caption, real, speech) in enumerate(zip(captions, clips, made, strict=True)):
        heard = judge.hear(speech)
        found = {
            "cer": character_error(caption, heard.text),
            "per": phoneme_error(judge.phonemes(caption), heard.phonemes),
            "mcd": cepstral_distortion(log_mel(speech), log_mel(real)),
            "tempo": len(speech) / len(real),
        }
        spoken.append(Spoken(caption, real, speech, heard, found["cer"], known[number]))
        for name, value in found.items():
            for split in ("test", "known") if known[number] else ("test",):
                scores.setdefault(f"sound.{name}_{split}", []).append(value)
        subject.progress.update(number + 1)
    subject.progress.done()
    on_real = read_json(subject.judge / "judge.json")["errors"]
    return Findings(
        headline=HEADLINE,
        sections=_sections(spoken),
        scores=scores,
        metrics=subject.judge_accuracy() | {f"sound.{name}": error for name, error in on_real.items()},
        prompts={"test": test.keys, "known": [key for key, is_known in zip(test.keys, known, strict=True) if is_known]},
    )


def of_known_words(captions: Sequence[str], trained: Sequence[str]) -> list[bool]:
    """Whether the trained captions hold every word of each caption."""
    vocabulary = {word for caption in trained for word in words(caption)}
    return [vocabulary.issuperset(words(caption)) for caption in captions]


def _sections(spoken: Sequence[Spoken]) -> list[Section]:
    known = [said for said in spoken if said.known]
    new = [said for said in spoken if not said.known]
    worst = sorted(spoken, key=lambda said: -said.error)[:FAILURES]
    parts = (
        (
            "known",
            "New sentences of known words",
            "Training clips say every word, but not the sentence.",
            [known[row] for row in spread(len(known), SHOWN)],
        ),
        (
            "new",
            "Other held-out prompts",
            "At least one word stands in no training clip.",
            [new[row] for row in spread(len(new), SHOWN)],
        ),
        ("failures", "Worst failures", "Held-out prompts of which most was heard wrong.", worst),
    )
    beside = "The real clip and the made one; below what the recogniser heard."
    return [
        Section(name, title, f"{about} {beside}", [_example(said) for said in chosen])
        for name, title, about, chosen in parts
        if chosen
    ]


def _example(said: Spoken) -> Example:
    heard = f"heard as {said.heard.text or 'nothing'}"
    return Example(
        said.caption,
        {"real": said.real, "made": said.made},
        [(heard, True if said.error == 0 else None), (f"{said.error:.0%} of its characters wrong", said.error <= 0.25)],
    )
