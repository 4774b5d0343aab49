"""Task `tunes`: a model that writes tunes for an asked kind, key and metre.

Held-out tunes give the likelihood, in nats a character. Their requests are asked again: a tune obeys its metre when
every inner bar fills it, and its key when one of its parts ends on a note of the tonic chord and at most one note in
ten carries an accidental; the same is measured on the real tunes. `memory.phrases` is the share of phrases (nine notes,
in any key) that stand in a training tune.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from mmgen.data.corpus import load_corpus
from mmgen.evaluation.tasks.task import Findings, Section, Subject
from mmgen.examples import Example, spread
from mmgen.modalities.music import Tune
from mmgen.modalities.scores.abc import Bar, Note, tonic

if TYPE_CHECKING:
    from mmgen.models.abc.model import Melody

HEADLINE = {
    "nll.character": "nats a character of held-out tunes",
    "music.parses": "tunes that can be read and whose bars fill the metre",
    "music.key": "tunes that keep their key",
    "music.first": "the same at the first try",
    "music.key_real": "real tunes that keep their key",
    "memory.phrases": "phrases that stand in a training tune",
    "memory.phrases_real": "the same of real held-out tunes",
}
SHOWN, BEGUN = 8, 4
PHRASE = 8


def evaluate(subject: Subject) -> Findings:
    """Likelihood, requests, continuation."""
    from mmgen.models.abc.model import readable, split

    model: Melody = subject.model  # type: ignore[assignment]
    seed, temperature = subject.recipe.evaluation.seed, model.config.temperature
    train, test = load_corpus(subject.dataset, "train"), load_corpus(subject.dataset, "test")
    test = test.take(range(len(test))[: subject.recipe.evaluation.samples])
    subject.progress.start("evaluate", 3, "steps")
    nats = [model.nats(tune) for tune in test.tunes()]
    subject.progress.update(1)
    headers = [split(tune)[0] for tune in test.tunes()]
    first = model.compose(headers, [""] * len(headers), seed, 1, temperature)
    made = model.compose(headers, [""] * len(headers), seed, model.config.tries, temperature)
    subject.progress.update(2)
    known = {phrase for tune in train.tunes() for phrase in phrases(tune)}
    good = [tune for tune in made if readable(tune)]
    scores = {
        "nll.character": [total / count for total, count in nats],
        "music.parses": [float(readable(tune)) for tune in made],
        "music.first": [float(readable(tune)) for tune in first],
        "music.key": [float(readable(tune) and keeps_key(tune)) for tune in made],
        "music.key_real": [float(keeps_key(tune)) for tune in test.tunes()],
        "memory.phrases": [_share_known(tune, known) for tune in good] or [1.0],
        "memory.phrases_real": [_share_known(tune, known) for tune in test.tunes()],
    }
    sections = [
        Section("composed", "Composed for a request", "Held-out requests, not selected among tunes that can be read.",
                [_tile(tune) for tune in [good[row] for row in spread(len(good), SHOWN)]]),
        _continued(model, test.tunes(), seed),
    ]  # fmt: skip
    subject.progress.update(3)
    subject.progress.done()
    return Findings(HEADLINE, sections, scores, {}, {"test": test.keys})


def keeps_key(tune: Tune) -> bool:
    """Whether a part of a tune ends on its tonic chord and at most a tenth of its notes carry an accidental."""
    notes = [event for event in tune.score.events if isinstance(event, Note) and event.pitches]
    altered = sum(bool(note.pitches[0].accidental) for note in notes)
    ends: list[Note] = []
    last: Note | None = None
    for event in (*tune.score.events, Bar("|]")):
        if isinstance(event, Note):
            last = event if event.pitches else last
        elif event.line != "|" and last is not None:
            ends.append(last)
    at_home = any((note.pitches[-1].step - tonic(tune.score.key)) % 7 in (0, 2, 4) for note in ends)
    return at_home and altered <= 0.1 * len(notes)


def phrases(tune: Tune) -> set[tuple[int, ...]]:
    """Every nine notes in a row as the eight steps between them."""
    steps = [event.pitches[0].step for event in tune.score.events if isinstance(event, Note) and event.pitches]
    moves = [after - before for before, after in itertools.pairwise(steps)]
    return {tuple(moves[place : place + PHRASE]) for place in range(len(moves) - PHRASE + 1)}


def _share_known(tune: Tune, known: set[tuple[int, ...]]) -> float:
    own = phrases(tune)
    return len(own & known) / len(own) if own else 0.0


def _continued(model: Melody, real: list[Tune], seed: int) -> Section:
    """The first eight bars of held-out tunes, and what the model makes of them."""
    tiles = []
    for row in spread(len(real), BEGUN):
        lines = real[row].abc.strip("\n").split("\n")
        body = next(place for place, line in enumerate(lines) if line.startswith("K:")) + 1
        begun = Tune("\n".join(lines[: body + 2]))
        made = model.generate({"music": [begun]}, "music", 1, seed=seed, options={})[0]
        tiles.append(Example(real[row].header("T"), {"real": real[row], "continued": made}))
    about = "The first two lines of a held-out tune are given; the rest of the second one is the model's."
    return Section("continued", "Continued", about, tiles)


def _tile(tune: Tune) -> Example:
    return Example(
        tune.header("T"), {"tune": tune}, [("keeps its key" if keeps_key(tune) else "leaves its key", keeps_key(tune))]
    )
