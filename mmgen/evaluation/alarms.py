"""What shows in anything that a model makes, whatever the task: copies, duplicates, collapse, cost.

    alarm.copies      share of things made for prompts that training does not hold, or for none, which are in the
                      training set: pictures nearly (`mmgen.data.limits.NEAR`), sounds, videos and tunes byte by byte.
                      Texts are left out: a short text that is right is often one of those that were learned
    alarm.duplicates  share of things that are the same, byte by byte, as another one made for another prompt, less the
                      share of training data that are the same as others; the worst target
    alarm.collapse    1 - scatter of what was made over scatter of training data, at least 0; the worst target. Scatter
                      is the root mean square distance to the mean: of thumbnails, of loudness over time, of pairs of
                      characters

Prompts for which training has several samples (a class, say) count as not held.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmgen.data.changes.near_duplicates import THUMBNAIL, pairs
from mmgen.data.corpus import Corpus, load_corpus
from mmgen.data.dataset import load
from mmgen.evaluation.tasks.task import Metric
from mmgen.examples import spread
from mmgen.modalities import image, media

Generate = Callable[..., list[Any]]
MANY = 5
"""Training samples with one caption: more, and the caption does not name a sample."""
LOOKED_AT = 3000
"""Most training samples that are compared with."""


class Watch:
    """Stands before a model's `generate` and remembers little of each thing that it made."""

    def __init__(self, generate: Generate) -> None:
        self._generate = generate
        self._seconds = 0.0
        self._made: dict[str, list[tuple[str | None, bytes, NDArray[np.float32]]]] = {}
        """By modality: what was asked (None for nothing), sha256, sketch."""

    def __call__(self, given: Mapping[str, Sequence[Any]], to: str, n: int, **more: Any) -> list[Any]:
        """As `Model.generate`."""
        began = time.process_time()
        made = self._generate(given, to, n, **more)
        self._seconds += time.process_time() - began
        for place, thing in enumerate(made):
            asked = _asked({name: values[place] for name, values in given.items()})
            for kind, value in thing.items() if isinstance(thing, dict) else [(media_kind(thing), thing)]:
                self._made.setdefault(kind, []).append((asked, _digest(value), sketch(value)))
        return made

    def cost(self, model: Path) -> dict[str, Metric]:
        """CPU-seconds a thing and megabytes of the weights in folder `model`; no two runs measure the same."""
        n = sum(len(things) for things in self._made.values())
        megabytes = sum(path.stat().st_size for path in model.rglob("*.safetensors")) / 1e6
        return {"cost.seconds": _metric(self._seconds / max(1, n), n), "cost.megabytes": _metric(megabytes, n)}

    def alarms(self, dataset: Path, language: str) -> dict[str, Metric]:
        """The three alarms.

        Args:
            dataset: folder of the data set that was trained on.
            language: of its captions.
        """
        train = load_corpus(dataset, "train")
        modalities = load(dataset).card.modalities
        captions = train.captions(language) if "text" in modalities else []
        named = {caption for caption, count in Counter(captions).items() if count < MANY}
        train = train.take(spread(len(train), min(len(train), LOOKED_AT)))
        copied = of = 0
        again, collapse = [0.0], [0.0]
        for kind, things in self._made.items():
            real = _real(train, kind, language) if kind in modalities else []
            again.append(_duplicates(things) - _duplicates([(None, _digest(value), None) for value in real]))
            if kind != "text":
                unseen = [(sha256, drawn) for asked, sha256, drawn in things if _words(asked) not in named]
                copied, of = copied + _copied(kind, unseen, real), of + len(unseen)
            scatter = _scatter([sketch(value) for value in real])
            if scatter:
                collapse.append(1 - _scatter([drawn for *_, drawn in things]) / scatter)
        n = sum(len(things) for things in self._made.values())
        return {
            "alarm.copies": _metric(copied / max(1, of), of),
            "alarm.duplicates": _metric(max(again), n),
            "alarm.collapse": _metric(max(collapse), n),
        }


def _metric(value: float, n: int) -> Metric:
    """A figure of all that was made: it has no interval."""
    return {"value": value, "low": value, "high": value, "n": n}


def media_kind(value: Any) -> str:
    """Modality of a made thing; what is no medium (a number, say) is looked at as text."""
    return "text" if isinstance(value, int | float) else media.kind(value)


def sketch(value: Any) -> NDArray[np.float32]:
    """A few hundred numbers that are near for things that look or sound alike."""
    kind = media_kind(value)
    if kind in ("image", "video"):
        frame = value if kind == "image" else value[len(value) // 2]
        small: NDArray[np.uint8] = np.asarray(image.shrink(Image.fromarray(frame), THUMBNAIL))
        return small.ravel().astype(np.float32)
    if kind == "sound":
        parts = np.array_split(value, 32)
        return np.array([np.log10(np.mean(part**2) + 1e-6) if len(part) else -6.0 for part in parts], np.float32)
    text = value.abc if kind == "music" else str(value)
    counts = np.zeros(128, np.float32)
    for a, b in zip(f" {text}", f"{text} ", strict=True):
        counts[(31 * ord(a) + ord(b)) % len(counts)] += 1
    return counts / max(1.0, float(np.sqrt(np.square(counts).sum())))


def _digest(value: Any) -> bytes:
    content = value.tobytes() if isinstance(value, np.ndarray) else str(getattr(value, "abc", value)).encode()
    return hashlib.sha256(content).digest()


def _asked(given: Mapping[str, Any]) -> str | None:
    """What was asked, in a form that can be compared; texts stay readable."""
    if not given:
        return None
    if set(given) == {"text"}:
        return f"text {given['text']}"
    return json.dumps({name: _digest(value).hex() for name, value in sorted(given.items())})


def _words(asked: str | None) -> str | None:
    return asked.removeprefix("text ") if asked is not None else None


def _real(train: Corpus, kind: str, language: str) -> list[Any]:
    return list(train.captions(language)) if kind == "text" else list(train.media([kind])[kind])


def _duplicates(things: Sequence[tuple[str | None, bytes, Any]]) -> float:
    """Share of things that are the same as one made for another prompt; equal prompts count once."""
    first = {asked: sha256 for asked, sha256, _ in things if asked is not None}
    made = [*first.values(), *(sha256 for asked, sha256, _ in things if asked is None)]
    count = Counter(made)
    return sum(count[sha256] > 1 for sha256 in made) / max(1, len(made))


def _copied(kind: str, things: Sequence[tuple[bytes, NDArray[np.float32]]], real: Sequence[Any]) -> int:
    if kind == "image" and things and real:
        made = np.stack([drawn for _, drawn in things]).astype(np.uint8)
        known = np.stack([sketch(value) for value in real]).astype(np.uint8)
        return len({row for row, _ in pairs(made, known)})
    held = {_digest(value) for value in real}
    return sum(sha256 in held for sha256, _ in things)


def _scatter(sketches: Sequence[NDArray[np.float32]]) -> float:
    if len(sketches) < 2:
        return 0.0
    rows = np.stack(sketches).astype(np.float64)
    return float(np.sqrt(np.square(rows - rows.mean(0)).sum(1).mean()))
