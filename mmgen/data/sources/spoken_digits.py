"""The `spoken_digits` data set: the handwritten digits of `digits`, each with its English name written and spoken.

eSpeak NG, a formant synthesiser, says the word; which of its voices, how fast and how high is drawn by a hash of the
picture's key, so nearly every sound is another one. Splits are those of `digits`.

The engine is native code inside the wheel of `espeakng-loader`, pinned by its hash: it is unpacked, loaded and run, and
unloaded with the temporary folder that it lies in. That makes this data set one of Linux on x86-64; elsewhere copy a
folder that was built there. Its noise comes from the C library's `rand` and its state goes on from word to word, so all
words are said in one order by a copy of the engine of their own. The sound is brought from 22,050 to 16,000 Hz with
whole numbers, which no library rounds otherwise.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import platform
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmgen.data.shards import Sample
from mmgen.data.sources import digits
from mmgen.errors import ConfigError, DataError
from mmgen.modalities import sound

TITLE = "Handwritten digits with their English names, written and spoken"
PACKAGES = (*digits.PACKAGES, "espeakng-loader")
LICENCES = (
    *digits.LICENCES,
    {
        "what": "sounds",
        "licence": "output of a program under GPL-3.0-or-later",
        "credit": "eSpeak NG, copyright Jonathan Duddington, Reece H. Dunn and contributors, by espeakng-loader",
        "url": "https://github.com/espeak-ng/espeak-ng",
    },
)
MODALITIES = ("image", "text", "sound")
LANGUAGES = ("en",)
SPLITS = digits.SPLITS

ACCENTS = ("en-us", "en", "en-gb-scotland", "en-029", "en-gb-x-rp", "en-us-nyc")
TIMBRES = ("", "+m1", "+m2", "+m3", "+m4", "+m5", "+m7", "+f1", "+f4")
"""Voices are pairs of an accent and one of these; the others of the engine (f2, f3, f5) sound different each time."""
SPEEDS, PITCHES = range(140, 201), range(30, 71)
"""Words a minute, and the engine's own scale of 0 to 99."""
MAX_SECONDS = 0.64
"""Longer words would be cut; at these speeds hardly one is."""

_ENGINE_RATE = 22_050
_UP, _DOWN = 320, 441
"""16,000 / 22,050."""
_REACH = 24
"""Input samples at either side that an output sample is made of."""
_QUIET = 200 / 32768
_SYNCHRONOUS, _CHARACTERS, _UTF8, _SPEED, _PITCH = 2, 1, 1, 1, 3
"""Constants of the engine's `speak_lib.h`."""
_HEARD = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


def samples(files: dict[str, Path]) -> Iterator[tuple[str, Sample]]:
    """Yield (split, sample), digit by digit.

    Args:
        files: the wheel of each of `PACKAGES`, already checked by hash.

    Raises:
        ConfigError: not Linux on x86-64.
        DataError: a package is not the one that this code was written for.
    """
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise ConfigError(
            f"'spoken_digits' is spoken by an engine for Linux on x86-64, this is {sys.platform} on "
            f"{platform.machine()}; build it there or in a container, and copy the folder"
        )
    with tempfile.TemporaryDirectory() as scratch:
        engine = Engine(files["espeakng-loader"], Path(scratch))
        try:
            for split, sample in digits.samples(files):
                facts = sample.facts()
                draw = hashlib.sha256(f"spoken:{sample.key}".encode()).digest()
                facts["voice"] = ACCENTS[draw[0] % len(ACCENTS)] + TIMBRES[draw[1] % len(TIMBRES)]
                facts["speed"], facts["pitch"] = SPEEDS[draw[2] % len(SPEEDS)], PITCHES[draw[3] % len(PITCHES)]
                said = engine.say(facts["concept"], facts["voice"], facts["speed"], facts["pitch"])
                text = json.dumps(facts, sort_keys=True).encode()
                yield split, Sample(sample.key, sample.parts | {"wav": sound.encode(said), "json": text})
        finally:
            engine.close()


class Engine:
    """A copy of the synthesiser.

    Args:
        wheel: of `espeakng-loader`.
        scratch: an empty folder that lives as long as the engine.

    Raises:
        DataError: the wheel lacks the engine, or it does not start.
    """

    def __init__(self, wheel: Path, scratch: Path) -> None:
        with zipfile.ZipFile(wheel) as package:
            package.extractall(scratch)
        root = scratch / "espeakng_loader"
        try:
            self._library = ctypes.CDLL(str(root / "libespeak-ng.so"))
        except OSError as error:
            raise DataError(f"{wheel.name!r}: the engine cannot be loaded ({error}); delete the file") from error
        # The data must come from the wheel: without a path the engine would look for an installed copy.
        rate = self._library.espeak_Initialize(_SYNCHRONOUS, 0, str(root / "espeak-ng-data").encode(), 0)
        if rate != _ENGINE_RATE:
            raise DataError(f"{wheel.name!r}: the engine says {rate} samples a second, want {_ENGINE_RATE}")
        self._parts: list[NDArray[np.int16]] = []
        self._heard = _HEARD(self._hear)  # kept: the engine holds only its address
        self._library.espeak_SetSynthCallback(self._heard)
        ctypes.CDLL(None).srand(1)

    def say(self, word: str, voice: str, speed: int, pitch: int) -> sound.Sound:
        """A word, (N,) float32 at 16 kHz, without the silence around it.

        Raises:
            DataError: there is no such voice.
        """
        if self._library.espeak_SetVoiceByName(voice.encode()):
            raise DataError(f"the engine has no voice {voice!r}")
        self._library.espeak_SetParameter(_SPEED, speed, 0)
        self._library.espeak_SetParameter(_PITCH, pitch, 0)
        self._parts.clear()
        text = word.encode() + b"\0"
        size, start, end = ctypes.c_size_t(len(text)), ctypes.c_uint(0), ctypes.c_uint(0)
        self._library.espeak_Synth(text, size, start, _CHARACTERS, end, _UTF8, None, None)
        pcm = resampled(np.concatenate(self._parts))
        loud = np.flatnonzero(np.abs(pcm) > _QUIET)
        return pcm[loud[0] : min(loud[-1] + 1, loud[0] + int(MAX_SECONDS * sound.RATE))]

    def close(self) -> None:
        """Stop the engine."""
        self._library.espeak_Terminate()

    def _hear(self, wave: ctypes._Pointer[ctypes.c_short], count: int, events: int | None) -> int:
        if wave and count > 0:
            self._parts.append(np.ctypeslib.as_array(wave, (count,)).copy())
        return 0


def resampled(pcm: NDArray[np.int16]) -> sound.Sound:
    """22,050 to 16,000 Hz, (N,) -> (N * 320 // 441,) float32 in [-1, 1], of exactly 16 bits each.

    Every 441 samples become 320 by one matrix of whole numbers: their sums stay below 2**53 and are exact in any order.
    """
    length = len(pcm) * _UP // _DOWN
    blocks = -(-length // _UP)
    padded = np.zeros(blocks * _DOWN + 2 * _REACH)
    padded[_REACH : _REACH + len(pcm)] = pcm
    cut_NW = np.lib.stride_tricks.sliding_window_view(padded, _DOWN + 2 * _REACH)[::_DOWN]
    whole = np.floor(cut_NW @ _filter() / 2**15 + 0.5).ravel()[:length]
    return np.asarray(np.clip(whole, -32768, 32767) / 32768, np.float32)


@cache
def _filter() -> NDArray[np.float64]:
    """Whole weights (441 + 2 * 24, 320) of a low pass at 7.2 kHz (sinc under a Hann window); their sum is 2**15."""
    offset = np.arange(_DOWN + 2 * _REACH)[:, None] - _REACH - np.arange(_UP)[None] * (_DOWN / _UP)
    share = 2 * 7200 / _ENGINE_RATE
    hann = np.where(np.abs(offset) < _REACH, np.cos(np.pi * offset / (2 * _REACH)) ** 2, 0)
    weight = np.sinc(share * offset) * hann
    return np.asarray(np.rint(weight / weight.sum(0) * 2**15), np.float64)
