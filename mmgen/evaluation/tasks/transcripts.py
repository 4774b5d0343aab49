"""Task `transcripts`: a model that writes down what is said, on clips of sentences that it has never heard.

Errors are counted by jiwer on the best alignment: characters (CER) and words (WER) that were replaced, left out or put
in. A rate is all errors over all characters (words) of the references, as the field reports it. Each prompt's score is
its errors over the mean length of a reference, so that the mean over prompts is that rate and two models can be paired.

A sentence whose words all occur in the training split asks less than one with a new word, so both are scored apart.
Clips that the model has learned from are scored too, and clips without the n-gram of the search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmgen.data.corpus import Corpus, load_corpus
from mmgen.evaluation.tasks.task import Findings, Section, Subject
from mmgen.examples import Example, spread
from mmgen.modalities import sound
from mmgen.modalities.image import Picture
from mmgen.modalities.lettering import font
from mmgen.models.asr.model import Listener
from mmgen.models.asr.search import CHARACTERS

HEADLINE = {
    "text.cer_test": "characters heard wrong, sentences never heard",
    "text.wer_test": "words heard wrong, sentences never heard",
    "text.cer_known": "characters wrong where all words were learned",
    "text.wer_known": "words wrong where all words were learned",
    "text.cer_new": "characters wrong where a word is new",
    "text.wer_new": "words wrong where a word is new",
    "text.cer_greedy": "characters wrong without the n-gram",
    "text.cer_seen": "characters wrong in clips of the training set",
    "text.exact_test": "sentences without an error",
}
SHOWN, WORST, TRACED = 24, 12, 6

# A trace of characters over time: pixels of a row of one character and of the column of names, shades from 0 to 1.
_ROW, _NAMES = 9, 14
_INK = (70, 76, 84)
_SHADES = ((255, 255, 255), (136, 170, 220), (24, 50, 110))


@dataclass(frozen=True)
class Heard:
    """Clips, what is said in them, and what was heard."""

    clips: Corpus
    said: list[str]
    heard: list[str]
    characters: list[int]
    """Characters heard wrong in each."""
    words: list[int]


def evaluate(subject: Subject) -> Findings:
    """Listen to the `test` split and to as many training clips."""
    language = subject.recipe.data.languages[0]
    train, test = load_corpus(subject.dataset, "train"), load_corpus(subject.dataset, "test")
    words = {word for text in train.captions(language) for word in text.split()}
    if len(test) > subject.recipe.evaluation.samples:
        test = test.take(spread(len(test), subject.recipe.evaluation.samples))
    subject.progress.start("evaluate", 3, "passes")
    new = _listen(subject, test, language, {})
    subject.progress.update(1)
    plain = _listen(subject, test, language, {"beam": 0})
    subject.progress.update(2)
    seen = _listen(
        subject, train.take(spread(len(train), min(len(test), subject.recipe.evaluation.seen))), language, {}
    )
    subject.progress.update(3)
    subject.progress.done()
    known = [words.issuperset(text.split()) for text in new.said]
    scores = {
        "text.cer_test": rates(new.characters, new.said),
        "text.wer_test": rates(new.words, [text.split() for text in new.said]),
        "text.exact_test": [float(not errors) for errors in new.characters],
        "text.cer_greedy": rates(plain.characters, plain.said),
        "text.cer_seen": rates(seen.characters, seen.said),
    }
    prompts = {"test": test.keys, "greedy": test.keys, "seen": seen.clips.keys}
    for name, wanted in (("known", True), ("new", False)):
        rows = [row for row, every in enumerate(known) if every is wanted]
        if rows:
            said = [new.said[row] for row in rows]
            scores[f"text.cer_{name}"] = rates([new.characters[row] for row in rows], said)
            scores[f"text.wer_{name}"] = rates([new.words[row] for row in rows], [text.split() for text in said])
            prompts[name] = [test.keys[row] for row in rows]
    return Findings(
        headline={name: what for name, what in HEADLINE.items() if name in scores},
        sections=_sections(subject, new, plain, known),
        scores=scores,
        metrics=subject.judge_accuracy(),
        prompts=prompts,
    )


def rates(errors: Sequence[int], references: Sequence[Sequence[object]]) -> list[float]:
    """Each prompt's errors over the mean length of a reference: their mean is all errors over all lengths.

    >>> rates([1, 0], ["ab", "abcd"])
    [0.3333333333333333, 0.0]
    """
    mean = sum(map(len, references)) / len(references)
    return [count / mean for count in errors]


def trace(clip: sound.Sound, log_SK: NDArray[np.float32], seconds: float) -> Picture:
    """The spectrogram of a clip; below, the likeliest path and each character's probability over time.

    Args:
        clip: (N,).
        log_SK: log probabilities of the blank and of each of `CHARACTERS` over the whole clip.
        seconds: of silence before and after the clip that `log_SK` covers too.
    """
    from PIL import Image, ImageDraw

    spectrogram = np.repeat(sound.picture(clip)[:, sound.BORDER :], 2, axis=1)
    height, width = spectrogram.shape[:2]
    step = (len(clip) / sound.RATE + 2 * seconds) / len(log_SK)
    at = ((np.arange(width) + 0.5) / width * len(clip) / sound.RATE + seconds) / step
    level_KW = np.exp(log_SK.T[1:, np.clip(at, 0, len(log_SK) - 1).astype(int)])
    shades = np.array(_SHADES, np.float64)
    grid_KW3 = np.stack([np.interp(level_KW, np.linspace(0, 1, len(shades)), shades[:, c]) for c in range(3)], axis=-1)
    rows = np.repeat(grid_KW3.round().astype(np.uint8), _ROW, axis=0)
    top = height + 2 * _ROW
    whole = np.full((top + len(rows), _NAMES + width, 3), 255, np.uint8)
    whole[:height, _NAMES:] = spectrogram
    whole[top:, _NAMES:] = rows
    picture = Image.fromarray(whole)
    draw = ImageDraw.Draw(picture)
    small, large = font(_ROW), font(1.5 * _ROW)
    for number, character in enumerate(CHARACTERS):
        draw.text((3, top + number * _ROW - 1), character.replace(" ", "_"), fill=_INK, font=small)
    path = log_SK.argmax(1)
    for place, k in enumerate(path):
        if k and (place == 0 or path[place - 1] != k):
            x = _NAMES + (place * step - seconds) * sound.RATE / len(clip) * width
            draw.text((x, height), CHARACTERS[k - 1].replace(" ", "_"), fill=_INK, font=large)
    return np.asarray(picture)


def _listen(subject: Subject, clips: Corpus, language: str, options: dict[str, int]) -> Heard:
    import jiwer

    said, seed = clips.captions(language), subject.recipe.evaluation.seed
    heard = subject.model.generate({"sound": clips.sounds()}, "text", len(clips), seed=seed, options=options)
    characters: list[int] = []
    words: list[int] = []
    for reference, hypothesis in zip(said, heard, strict=True):
        for found, by in ((characters, jiwer.process_characters), (words, jiwer.process_words)):
            measured = by(reference, hypothesis)
            found.append(measured.substitutions + measured.deletions + measured.insertions)
    return Heard(clips, said, heard, characters, words)


def _sections(subject: Subject, new: Heard, plain: Heard, known: list[bool]) -> list[Section]:
    sections = []
    for name, title, about, wanted in (
        ("known", "Known words, new sentences", "All words occur in the training split, the sentence does not.", True),
        ("new", "New words", "At least one word does not occur in the training split.", False),
    ):
        rows = [row for row, every in enumerate(known) if every is wanted]
        shown = [rows[place] for place in spread(len(rows), SHOWN)]
        if shown:
            sections.append(Section(name, title, about, [_example(new, plain, row) for row in shown]))
    worst = sorted(range(len(new.said)), key=lambda row: -new.characters[row] / len(new.said[row]))[:WORST]
    about = "Clips with the largest share of characters heard wrong."
    sections.append(Section("worst", "Worst failures", about, [_example(new, plain, row) for row in worst]))
    if isinstance(subject.model, Listener):
        sections.append(_traces(subject.model, new))
    return sections


def _example(new: Heard, plain: Heard, row: int) -> Example:
    right = not new.characters[row]
    remarks: list[tuple[str, bool | None]] = [("heard exactly" if right else f"heard: {new.heard[row]}", right)]
    if plain.heard[row] != new.heard[row]:
        remarks.append((f"without n-gram: {plain.heard[row]}", None))
    return Example(new.said[row], {"clip": new.clips.sounds()[row]}, remarks)


def _traces(model: Listener, new: Heard) -> Section:
    """Of clips that are neither short nor long, so that the letters can be read."""
    rows = [row for row, clip in enumerate(new.clips.sounds()) if 1 < len(clip) / sound.RATE < 4]
    tiles = []
    for place in spread(len(rows), TRACED):
        clip = new.clips.sounds()[rows[place]]
        picture = trace(clip, model.posteriors(clip), model.margin_seconds)
        tiles.append(
            Example(new.said[rows[place]], {"over time": picture}, [(f"heard: {new.heard[rows[place]]}", None)])
        )
    about = (
        "The spectrogram, the likeliest path (`_` is a space) and the probability of each character, before the search."
    )
    return Section("traces", "What is heard when", about, tiles)
