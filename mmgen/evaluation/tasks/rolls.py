"""Task `rolls`: a model of chords, judged by the likelihood of held-out pieces, in nats a frame.

Beside the likelihood stand what is made from nothing and from the first sixteen quarter notes of held-out pieces. Of
both: how many chords also stand in the training set, in any key (real held-out pieces say what to expect), and how many
runs of eight chords do, which would be learned by heart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmgen.data.corpus import load_corpus
from mmgen.evaluation.tasks.task import Findings, Section, Subject
from mmgen.examples import Example, spread
from mmgen.modalities.music import Tune, frames, from_frames

if TYPE_CHECKING:
    from mmgen.models.piano_rolls.model import Rolls

HEADLINE = {
    "nll.frame": "nats a frame of held-out pieces",
    "chords.known": "made chords that a training piece has, in any key",
    "chords.known_real": "the same of real held-out pieces",
    "memory.runs": "runs of eight made chords that stand in a training piece, in any key",
    "memory.runs_real": "the same of real held-out pieces",
}
MADE, SHOWN, BEGUN, RUN = 24, 4, 16, 8


def evaluate(subject: Subject) -> Findings:
    """Likelihood, pieces from nothing, continuations."""
    model: Rolls = subject.model  # type: ignore[assignment]
    seed = subject.recipe.evaluation.seed
    train, test = load_corpus(subject.dataset, "train"), load_corpus(subject.dataset, "test")
    subject.progress.start("evaluate", 3, "steps")
    nats = [model.nats(tune) for tune in test.tunes()]
    subject.progress.update(1)
    made = model.generate({}, "music", MADE, seed=seed, options={})
    subject.progress.update(2)
    begun = [from_frames(frames(tune)[:BEGUN], title="Begun") for tune in test.tunes()[:SHOWN]]
    continued = model.generate({"music": begun}, "music", SHOWN, seed=seed, options={})
    known, runs = _known(train.tunes(), 1), _known(train.tunes(), RUN)
    mean = sum(count for _, count in nats) / len(nats)
    scores = {
        # Each piece's nats over the mean length: their mean is all nats over all frames, as the field reports it.
        "nll.frame": [total / mean for total, _ in nats],
        "chords.known": [_share(tune, known, 1) for tune in made],
        "chords.known_real": [_share(tune, known, 1) for tune in test.tunes()],
        "memory.runs": [_share(tune, runs, RUN) for tune in made],
        "memory.runs_real": [_share(tune, runs, RUN) for tune in test.tunes()],
    }
    subject.progress.update(3)
    subject.progress.done()
    rows = spread(MADE, SHOWN)
    sections = [
        Section("composed", "From nothing", "Not selected.", [Example("", {"made": made[row]}) for row in rows]),
        Section(
            "continued",
            "Continued",
            "The first sixteen quarter notes of a held-out chorale are given.",
            [
                Example(real.header("T"), {"real": real, "continued": tune})
                for real, tune in zip(test.tunes(), continued, strict=False)
            ],
        ),
    ]
    return Findings(HEADLINE, sections, scores, {}, {"test": test.keys})


def shapes(tune: Tune, length: int) -> list[tuple[tuple[int, ...], ...]]:
    """Every run of `length` chords, counted from the lowest note of the run, so that the key does not matter."""
    chords = frames(tune)
    found = []
    for place in range(len(chords) - length + 1):
        run = chords[place : place + length]
        lowest = min((pitch for chord in run for pitch in chord), default=0)
        found.append(tuple(tuple(pitch - lowest for pitch in chord) for chord in run))
    return found


def _known(tunes: list[Tune], length: int) -> set[tuple[tuple[int, ...], ...]]:
    return {shape for tune in tunes for shape in shapes(tune, length)}


def _share(tune: Tune, known: set[tuple[tuple[int, ...], ...]], length: int) -> float:
    own = shapes(tune, length)
    return sum(shape in known for shape in own) / len(own) if own else 0.0
