"""Task `answers`: a model that answers one question from a picture, a text, or both.

Asked is what was never learned from: split `test`, or where there is none `concepts` and `judge`, whose things training
never met. Every sample is asked three ways, so that the gain of having both is a paired difference. Classes are right
or wrong, held against always answering the most frequent one; numbers that come round are held against the best
constant.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mmgen.data.corpus import Corpus, load_corpus
from mmgen.data.dataset import load
from mmgen.evaluation.tasks.task import Findings, Section, Subject
from mmgen.examples import Example, spread
from mmgen.modalities.image import Picture
from mmgen.modalities.lettering import font

if TYPE_CHECKING:
    from mmgen.models.classifier.model import Fused

CLASSES = {
    "answer.right": "answered right from picture and text",
    "answer.right_image": "from the picture alone",
    "answer.right_text": "from the text alone",
    "answer.gain": "gain of both over the better of the two",
    "answer.right_constant": "the most frequent answer for all",
}
NUMBERS = {
    "answer.error": "mean error from picture and text",
    "answer.error_image": "from the picture alone",
    "answer.error_text": "from the text alone",
    "answer.gain": "gain of both over the better of the two",
    "answer.error_constant": "the best one answer for all",
}
WAYS = {"": ("image", "text"), "_image": ("image",), "_text": ("text",)}
UNSEEN = ("concepts", "judge")
SHOWN = 40
_CELL, _MARGIN, _INK, _FRAME = 44, 150, (70, 76, 84), (226, 229, 233)
_PLOT = 480


def evaluate(subject: Subject) -> Findings:
    """Ask every held-out split of the data set."""
    model: Fused = subject.model  # type: ignore[assignment]
    train, asked = load_corpus(subject.dataset, "train"), unseen(subject.dataset)
    asked = asked.take(spread(len(asked), min(len(asked), subject.recipe.evaluation.samples)))
    subject.progress.start("evaluate", 1, "splits")
    scores, sections = (_classes if model.classes else _numbers)(subject, model, train, asked)
    subject.progress.update(1)
    subject.progress.done()
    return Findings(CLASSES if model.classes else NUMBERS, sections, scores, {}, {asked.split: asked.keys})


def unseen(dataset: Path) -> Corpus:
    """The samples that the model never learned from."""
    if "test" in load(dataset).card.splits:
        return load_corpus(dataset, "test")
    parts = [load_corpus(dataset, split) for split in UNSEEN]
    samples, facts = ([one for part in parts for one in getattr(part, name)] for name in ("samples", "facts"))
    return Corpus(" and ".join(UNSEEN), samples, facts)


def round_distance(a: NDArray[np.float64], b: NDArray[np.float64], period: float) -> NDArray[np.float64]:
    """How far apart numbers are that come round.

    >>> round_distance(np.array([10.0]), np.array([1430.0]), 1440.0).tolist()
    [20.0]
    """
    apart = np.abs(a - b) % period
    nearest: NDArray[np.float64] = np.minimum(apart, period - apart)
    return nearest


def _given(asked: Corpus, language: str, px: int, names: tuple[str, ...]) -> dict[str, list[object]]:
    things: dict[str, list[object]] = {"image": list(asked.images(px)), "text": list(asked.captions(language))}
    return {name: things[name] for name in names}


def _classes(
    subject: Subject, model: Fused, train: Corpus, asked: Corpus
) -> tuple[dict[str, list[float]], list[Section]]:
    wanted = [str(value) for value in asked.values(model.config.target)]
    language, seed = subject.recipe.data.languages[0], subject.recipe.evaluation.seed
    said = {
        way: model.generate(
            _given(asked, language, model.config.image_px, names), "text", len(asked), seed=seed, options={}
        )
        for way, names in WAYS.items()
    }
    often = Counter(str(value) for value in train.values(model.config.target)).most_common(1)[0][0]
    said["_constant"] = [often] * len(asked)
    scores = {
        f"answer.right{way}": [float(a == b) for a, b in zip(answers, wanted, strict=True)]
        for way, answers in said.items()
    }
    best = max(("_image", "_text"), key=lambda way: np.mean(scores[f"answer.right{way}"]))
    pairs = zip(scores["answer.right"], scores[f"answer.right{best}"], strict=True)
    scores["answer.gain"] = [both - one for both, one in pairs]
    tiles = []
    for row in spread(len(asked), SHOWN):
        right = said[""][row] == wanted[row]
        line = said[""][row] if right else f"{said[''][row]}, not {wanted[row]}"
        tiles.append(Example(asked.captions(language)[row], {"picture": asked.images(72)[row]}, [(line, right)]))
    table = Section(
        "confused",
        "What is taken for what",
        "Rows are what is right, columns what was answered from both.",
        sheet=confusion(wanted, said[""]),
    )
    return scores, [
        table,
        Section("answered", "Answered from both", "Not selected.", tiles),
    ]


def _numbers(
    subject: Subject, model: Fused, train: Corpus, asked: Corpus
) -> tuple[dict[str, list[float]], list[Section]]:
    period, language = model.config.period, subject.recipe.data.languages[0]
    wanted = np.array([float(value) for value in asked.values(model.config.target)])
    said = {
        way: np.array(model.numbers(model.answers(_given(asked, language, model.config.image_px, names), len(asked))))
        for way, names in WAYS.items()
    }
    known = np.array([float(value) for value in train.values(model.config.target)])
    constants = np.linspace(0, period, 48, endpoint=False)
    best_constant = min(constants, key=lambda value: float(round_distance(known, np.array(value), period).mean()))
    said["_constant"] = np.full(len(asked), best_constant)
    errors = {way: round_distance(numbers, wanted, period) for way, numbers in said.items()}
    scores = {f"answer.error{way}": values.tolist() for way, values in errors.items()}
    best = min(("_image", "_text"), key=lambda way: float(errors[way].mean()))
    scores["answer.gain"] = (errors[best] - errors[""]).tolist()
    tiles = [
        Example(
            f"{asked.concepts[row]}, {asked.captions(language)[row]}",
            {"picture": asked.images(72)[row]},
            [(f"off by {errors[''][row]:.0f} {model.config.unit}", bool(errors[""][row] < period / 48))],
        )
        for row in spread(len(asked), SHOWN)
    ]
    plots = [Example(f"from {' and '.join(WAYS[way])}", {"plot": scatter(wanted, said[way], period)}) for way in WAYS]
    return scores, [
        Section("plots", "Answers over what is right", "One point a sample; on the line all is right.", plots),
        Section("answered", "Answered from both", "Not selected.", tiles),
    ]


def confusion(wanted: list[str], said: list[str]) -> Picture:
    """A table of counts: rows what is right, columns what was answered; darker is a larger share of its row."""
    names = sorted({*wanted, *said})
    counts = Counter(zip(wanted, said, strict=True))
    side = _MARGIN + _CELL * len(names) + 8
    table = Image.new("RGB", (side, side), (255, 255, 255))
    pen, letters = ImageDraw.Draw(table), font(12)
    for row, right in enumerate(names):
        total = max(1, sum(counts[right, answer] for answer in names))
        top = _MARGIN + row * _CELL
        pen.text(
            (_MARGIN - 8 - letters.getlength(right[:20]), top + _CELL / 2 - 8), right[:20], fill=_INK, font=letters
        )
        upright = Image.new("RGB", (_MARGIN - 8, 18), (255, 255, 255))
        ImageDraw.Draw(upright).text((0, 0), right[:20], fill=_INK, font=letters)
        table.paste(upright.rotate(90, expand=True), (top + _CELL // 2 - 9, 0))
        for column, answer in enumerate(names):
            count, left = counts[right, answer], _MARGIN + column * _CELL
            share = count / total
            ground = tuple(round(255 - share * (255 - value)) for value in (30, 100, 180))
            pen.rectangle((left, top, left + _CELL - 2, top + _CELL - 2), fill=ground, outline=_FRAME)
            if count:
                ink = (255, 255, 255) if share > 0.5 else _INK
                text = str(count)
                place = (left + (_CELL - letters.getlength(text)) / 2, top + _CELL / 2 - 9)
                pen.text(place, text, fill=ink, font=letters)
    return np.asarray(table)


def scatter(wanted: NDArray[np.float64], said: NDArray[np.float64], period: float) -> Picture:
    """One point a sample: to the right what is right, upwards what was answered."""
    plot = Image.new("RGB", (_PLOT, _PLOT), (255, 255, 255))
    pen = ImageDraw.Draw(plot)
    pen.rectangle((0, 0, _PLOT - 1, _PLOT - 1), outline=_FRAME, width=2)
    pen.line((0, _PLOT, _PLOT, 0), fill=(190, 196, 203), width=2)
    for x, y in zip(wanted / period * _PLOT, _PLOT - said / period * _PLOT, strict=True):
        pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=(30, 100, 180))
    return np.asarray(plot)
