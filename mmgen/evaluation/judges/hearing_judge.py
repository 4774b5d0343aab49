"""The hearing judge: a recogniser from outside that never heard our sound writes down what it hears.

`hama` (Apache-2.0; its networks are inside the package) names phonemes by CTC (Graves et al. 2006) and spells them,
without a language model over words: what is not said clearly is not guessed from its neighbours. It was trained by
others on other voices, so there is nothing to train here; the judge's accuracy is that on the real held-out clips.

    character error rate = edits between what was heard and what was written / characters that were written
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmgen.data.corpus import load_corpus
from mmgen.errors import ConfigError
from mmgen.evaluation.metrics.bootstrap import mean_interval
from mmgen.evaluation.metrics.cepstra import cepstral_distortion
from mmgen.examples import spread
from mmgen.files import write_json
from mmgen.modalities.sound import RATE, from_log_mel, log_mel
from mmgen.models.tts.spelling import words
from mmgen.progress import Progress
from mmgen.recipes import Recipe

PACKAGE = "hama"
PHONEMES = 120
"""Most phonemes that are spelled at once; the speller takes no more than 192."""


@dataclass(frozen=True)
class Heard:
    """What the judge heard."""

    text: str
    """Words in small letters, as it spells them."""
    phonemes: tuple[str, ...]


class HearingJudge:
    """The recogniser.

    Raises:
        ConfigError: its package is not installed.
    """

    def __init__(self) -> None:
        try:
            import hama
        except ImportError as error:
            raise ConfigError(
                f"the hearing judge needs the package {PACKAGE!r}; install it with pip install mmgen[speech]"
            ) from error
        self._hears, self._spells = hama.ASRModel(), hama.P2GModel()
        self._pronounces = cache(hama.G2PModel())

    def hear(self, sound: NDArray[np.float32]) -> Heard:
        """What a sound, (N,) float32 at 16 kHz, seems to say; nothing when it is shorter than a tenth of a second."""
        if len(sound) < RATE // 10:
            return Heard("", ())
        found = self._hears(sound, RATE)
        groups: list[list[str]] = []
        size = PHONEMES
        for word in filter(None, found.word_phoneme_text.split(" | ")):
            size += len(word.split())
            if size > PHONEMES:
                groups.append([])
                size = len(word.split())
            groups[-1].append(word)
        spelled = (self._spells(" | ".join(group)).text for group in groups)
        return Heard(" ".join(spelled), tuple(found.phonemes))

    def phonemes(self, text: str) -> tuple[str, ...]:
        """How a text is pronounced, in the judge's own phonemes."""
        return tuple(
            aligned.phoneme for word in words(text) for aligned in self._pronounces(word).alignments if aligned.phoneme
        )


def character_error(text: str, heard: str) -> float:
    """Character error rate of one text; above 1 when more was heard than was written.

    >>> character_error("Press 1.", "press one")
    0.0
    """
    import jiwer

    heard = " ".join(re.findall(r"[a-z']+", heard.lower()))
    return float(jiwer.cer(" ".join(words(text)), heard)) if heard else 1.0


def phoneme_error(right: Sequence[str], heard: Sequence[str]) -> float:
    """Phoneme error rate of one text."""
    import jiwer

    return float(jiwer.wer(" ".join(right), " ".join(heard))) if heard else 1.0


def train_judge(dataset: Path, recipe: Recipe, out: Path, scratch: Path, progress: Progress) -> None:
    """Measure the judge; it has nothing to learn. It hears each real clip twice: as it is, and after a spectrogram was
    made of it and a sound of that again, which is the best that a model of spectrograms can reach.

    Args:
        dataset: folder of a data set with sounds and captions in its split `test`.
        recipe: its `judge` part, and the caption language.
        out: empty folder; receives `judge.json` (accuracy, the errors behind it, the recogniser's name and version).
        scratch: not needed, since there are no steps to go on from.
        progress: where clips are shown.
    """
    judge = HearingJudge()
    corpus = load_corpus(dataset, "test")
    corpus = corpus.take(spread(len(corpus), recipe.judge.probes))
    captions = corpus.captions(recipe.data.languages[0])
    errors: dict[str, list[float]] = {"cer_real": [], "per_real": [], "cer_vocoded": [], "mcd_vocoded": []}
    progress.start("judge", len(corpus), "clips")
    for number, (caption, clip) in enumerate(zip(captions, corpus.sounds(), strict=True)):
        mel_TM = log_mel(clip)
        again = from_log_mel(mel_TM)
        heard = judge.hear(clip)
        errors["cer_real"].append(character_error(caption, heard.text))
        errors["per_real"].append(phoneme_error(judge.phonemes(caption), heard.phonemes))
        errors["cer_vocoded"].append(character_error(caption, judge.hear(again).text))
        errors["mcd_vocoded"].append(cepstral_distortion(log_mel(again), mel_TM))
        progress.update(number + 1)
    progress.done()
    rng = np.random.default_rng(recipe.judge.seed)
    right = [1 - error for error in errors["cer_real"]]
    card: dict[str, Any] = {
        "accuracy": mean_interval(right, rng)._asdict(),
        "measure": "1 - character error rate on real clips that no generator learned from",
        "errors": {name: mean_interval(values, rng)._asdict() for name, values in errors.items()},
        "recogniser": PACKAGE,
        "version": installed(),
        "id": f"{PACKAGE}-{installed()}",
    }
    write_json(out / "judge.json", card)


def installed() -> str:
    """Version of the recogniser, or an empty text."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return ""
