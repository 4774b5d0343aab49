"""Sound: bytes <-> checked arrays <-> log-mel spectrograms <-> a picture that a person can look at.

`read` is the only place where sound bytes of others are decoded. A sound is mono at 16 kHz, `(N,)` float32 in [-1, 1].

`log_mel` is what models of speech see: amplitudes of a short-time Fourier transform (Hann window of 40 ms every 10 ms),
averaged over 80 triangular bands of the Slaney mel scale (linear below 1 kHz, logarithmic above), as natural logarithm.
`from_log_mel` goes back: amplitudes by non-negative least squares (accelerated projected gradient: Beck and Teboulle
2009, doi:10.1137/080716542), phases by the fast Griffin-Lim algorithm (Perraudin, Balazs and Sondergaard 2013,
doi:10.1109/WASPAA.2013.6701851). These numbers and formulas stand here only.
"""

from __future__ import annotations

import io
import struct
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmgen.errors import DataError
from mmgen.files import write_bytes
from mmgen.modalities import containers

if TYPE_CHECKING:
    from mmgen.modalities.image import Picture

Sound = NDArray[np.float32]

ENDING = "wav"
ENDINGS = (ENDING, "flac", "ogg")
"""Parts that a data set may have; `read` goes by the content."""
RATE = 16_000
"""Samples a second."""

MAX_BYTES = 64 * 2**20
MAX_SECONDS = 300
MAX_CHANNELS = 8
MAX_VALUES = 2**25
"""Most samples of all channels together, before they are mixed: bounds memory."""
_RATES = range(4_000, 192_001)

HOP = 160
"""Samples between two frames: 100 frames a second."""
WINDOW = 4 * HOP
"""Samples that a frame sees."""
FFT = WINDOW
BANDS = 80
LOWEST, HIGHEST = 40.0, 8000.0
"""Edges of the bands in Hz."""
FLOOR = 1e-5
"""Smallest amplitude of a band, 100 dB below a sine at full scale, whose own is about 0 nats or less."""

_LEAST_SQUARES, _GRIFFIN_LIM, _MOMENTUM = 30, 40, 0.99

# The picture: colours from silence to loud, decibels that they span, pixels a band, and sizes in pixels.
_COLOURS = ((6, 4, 22), (52, 16, 104), (134, 32, 116), (214, 66, 84), (250, 142, 42), (252, 226, 130), (255, 255, 236))
_DECIBELS, _BAND_PX, _WIDTH, _TICK = 70.0, 2, (160, 640), (120, 128, 140)
_MARKS = (250.0, 500.0, 1000.0, 2000.0, 4000.0)
BORDER = 6
"""Pixels of marks at the left and lower edge of a picture."""


def read(data: bytes, name: str) -> Sound:
    """Decode WAV, FLAC or Ogg to mono at 16 kHz, (N,) float32 in [-1, 1].

    Channels are averaged, other rates resampled, what lies beyond full scale is cut off.

    Args:
        data: the bytes of a file.
        name: what to call it in errors.

    Raises:
        DataError: empty, too large or too long, of another format, cut short, altered, or with values that are no
            numbers.
    """
    import soundfile

    if not 0 < len(data) <= MAX_BYTES:
        raise DataError(f"{name!r}: {len(data)} bytes of sound; want 1 to {MAX_BYTES}")
    containers.check(data, name)
    _check_container(data, name)
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            rate, channels, frames = int(file.samplerate), int(file.channels), int(file.frames)
            _check_header(rate, channels, frames, name)
            values_NC = file.read(frames, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError, ValueError, OSError, OverflowError, MemoryError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{name!r}: the sound cannot be decoded ({reason}); replace the file") from error
    if len(values_NC) != frames:
        raise DataError(f"{name!r}: {len(values_NC)} of {frames} samples are there; the file was cut short")
    if not np.isfinite(values_NC).all():
        raise DataError(f"{name!r}: a sample is not a finite number; export the sound again")
    mono = values_NC.mean(1, dtype=np.float64)
    if rate != RATE:
        mono = _resampled(mono, rate)
    return np.asarray(np.clip(mono, -1, 1), np.float32)


def encode(sound: Sound) -> bytes:
    """The bytes of a WAV file, PCM with 16 bits; `read` gives back what it gave before."""
    whole = np.clip(np.rint(np.asarray(sound, np.float64) * 32768), -32768, 32767).astype("<i2").tobytes()
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    return (
        struct.pack("<4sI4s", b"RIFF", 36 + len(whole), b"WAVE")
        + form
        + struct.pack("<4sI", b"data", len(whole))
        + whole
    )


def write(sound: Sound, path: Path) -> None:
    """Write a WAV file whole or not at all.

    Raises:
        StorageError: the disk is full or the folder is not writable.
    """
    write_bytes(path, encode(sound))


def picture(sound: Sound) -> Picture:
    """The log-mel spectrogram: time to the right with a mark every second, low to high upwards, loud is bright.

    Marks at the left stand at 250, 500, 1000, 2000 and 4000 Hz. Long sounds are squeezed into `_WIDTH`.
    """
    from PIL import Image

    mel_TM = log_mel(sound)
    decibels_MT = mel_TM.T[::-1] * (20 / np.log(10))
    top = max(float(decibels_MT.max()), -60.0)
    level_MT = np.clip((decibels_MT - top + _DECIBELS) / _DECIBELS, 0, 1) * (len(_COLOURS) - 1)
    colours_K3 = np.array(_COLOURS, np.float64)
    places = np.arange(len(_COLOURS))
    rgb_MT3 = np.stack([np.interp(level_MT, places, colours_K3[:, channel]) for channel in range(3)], axis=-1)
    width = int(np.clip(len(mel_TM), *_WIDTH))
    size = (width, BANDS * _BAND_PX)
    drawn = np.asarray(Image.fromarray(rgb_MT3.round().astype(np.uint8)).resize(size, Image.Resampling.BILINEAR))
    framed = np.full((size[1] + BORDER, size[0] + BORDER, 3), 255, np.uint8)
    framed[: size[1], BORDER:] = drawn
    for second in range(int(len(sound) / RATE) + 1):
        at = BORDER + round(second * 100 / max(1, len(mel_TM)) * width)
        framed[size[1] :, at : at + 2] = _TICK
    edges = _band_edges()[1:-1]
    for mark in _MARKS:
        row = round((BANDS - 1 - np.interp(mark, edges, np.arange(BANDS))) * _BAND_PX)
        framed[row : row + 1, :BORDER] = _TICK
    return framed


def log_mel(sound: Sound) -> NDArray[np.float32]:
    """Natural logarithm of the mean amplitude in each band, (1 + N // HOP, BANDS); frame t is centred at t * HOP."""
    magnitude_TF = np.abs(_stft(np.asarray(sound, np.float32)))
    return np.asarray(np.log(np.maximum(magnitude_TF @ _bands().T, FLOOR)), np.float32)


def from_log_mel(mel_TM: NDArray[np.float32]) -> Sound:
    """A sound that has about this spectrogram, ((T - 1) * HOP,) float32; the same one each time.

    Raises:
        ValueError: the array has not `BANDS` columns, or no frame.
    """
    if mel_TM.ndim != 2 or mel_TM.shape[1] != BANDS or not len(mel_TM):
        raise ValueError(f"a spectrogram has shape (frames, {BANDS}), got {mel_TM.shape}")
    return griffin_lim(_amplitudes(mel_TM))


def griffin_lim(magnitude_TF: NDArray[np.float32]) -> Sound:
    """A sound whose Fourier amplitudes are about `magnitude_TF`, (T, 1 + FFT // 2); phases start at random."""
    angle_TF = np.random.default_rng(0).uniform(0, 2 * np.pi, magnitude_TF.shape).astype(np.float32)
    phase_TF = np.exp(1j * angle_TF).astype(np.complex64)
    length = (len(magnitude_TF) - 1) * HOP
    before_TF = np.zeros_like(phase_TF)
    for _ in range(_GRIFFIN_LIM):
        consistent_TF = _stft(_istft(magnitude_TF * phase_TF, length))
        ahead_TF = consistent_TF + _MOMENTUM * (consistent_TF - before_TF)
        phase_TF = ahead_TF / np.maximum(np.abs(ahead_TF), 1e-12)
        before_TF = consistent_TF
    return np.asarray(np.clip(_istft(magnitude_TF * phase_TF, length), -1, 1), np.float32)


def _check_container(data: bytes, name: str) -> None:
    """Only three formats reach the decoder. It plays a WAV or Ogg file that was cut short without a word, so that is
    looked for here."""
    whole = True
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        place = 12
        while place + 8 <= len(data) and data[place : place + 4] != b"data":
            place += 8 + (struct.unpack_from("<I", data, place + 4)[0] + 1) // 2 * 2
        whole = place + 8 <= len(data) and struct.unpack_from("<I", data, place + 4)[0] <= len(data) - place - 8
    elif data[:4] == b"OggS":
        last = data.rfind(b"OggS")
        whole = len(data) > last + 5 and bool(data[last + 5] & 4)  # the last page says that it is the last
    elif data[:4] != b"fLaC":
        raise DataError(f"{name!r}: not a WAV, FLAC or Ogg sound; convert it")
    if not whole:
        raise DataError(f"{name!r}: the file was cut short; copy it again")


def _check_header(rate: int, channels: int, frames: int, name: str) -> None:
    if rate not in _RATES:
        raise DataError(f"{name!r}: {rate} samples a second; want {_RATES[0]} to {_RATES[-1]}")
    if not 1 <= channels <= MAX_CHANNELS:
        raise DataError(f"{name!r}: {channels} channels; want 1 to {MAX_CHANNELS}")
    if frames < 1:
        raise DataError(f"{name!r}: the sound is empty; record it again")
    if frames > MAX_SECONDS * rate or frames * channels > MAX_VALUES:
        raise DataError(f"{name!r}: {frames / rate:.0f} seconds in {channels} channels; want at most {MAX_SECONDS}")


def _resampled(mono: NDArray[np.float64], rate: int) -> NDArray[np.float64]:
    from math import gcd

    from scipy.signal import resample_poly

    common = gcd(RATE, rate)
    resampled: NDArray[np.float64] = resample_poly(mono, RATE // common, rate // common)
    return resampled


@cache
def _window() -> NDArray[np.float32]:
    """Periodic Hann window, (WINDOW,), that gives a sine at full scale the amplitude 1."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    return np.asarray(2 * hann / hann.sum(), np.float32)


def _stft(sound: Sound) -> NDArray[np.complex64]:
    """(1 + N // HOP, 1 + FFT // 2); beyond its ends the sound is silent."""
    from scipy import fft  # six times as fast as numpy.fft in single precision

    frames = 1 + len(sound) // HOP
    padded = np.zeros((frames - 1) * HOP + WINDOW + HOP, np.float32)
    padded[WINDOW // 2 : WINDOW // 2 + len(sound)] = sound
    cut_TW = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[: (frames - 1) * HOP + 1 : HOP]
    return np.asarray(fft.rfft(cut_TW * _window(), FFT), np.complex64)


def _istft(spectrum_TF: NDArray[np.complex64], length: int) -> Sound:
    """The sound whose `_stft` is nearest in least squares (Griffin and Lim 1984, eq. 6), (length,)."""
    from scipy import fft

    window = _window()
    cut_TW = fft.irfft(spectrum_TF, FFT) * window
    weight = _overlap_added(np.broadcast_to(window * window, cut_TW.shape))
    start = WINDOW // 2
    sound = _overlap_added(cut_TW) / np.maximum(weight, 1e-3 * weight.max())
    return np.asarray(sound[start : start + length], np.float32)


def _overlap_added(cut_TW: NDArray[np.float32]) -> NDArray[np.float32]:
    """Frames every HOP samples, added up: a window is a whole number of hops, so each of its hops is one block."""
    hops = WINDOW // HOP
    total_HW = np.zeros((len(cut_TW) + hops - 1, HOP), np.float32)
    for number in range(hops):
        total_HW[number : number + len(cut_TW)] += cut_TW[:, number * HOP : (number + 1) * HOP]
    return total_HW.ravel()


def _band_edges() -> NDArray[np.float64]:
    """Corners of the triangles in Hz, (BANDS + 2,): evenly spaced on the Slaney mel scale."""
    linear, step = 1000.0, np.log(6.4) / 27

    def to_mel(hertz: float) -> float:
        return 3 * hertz / 200 if hertz < linear else 15 + float(np.log(hertz / linear)) / step

    mel = np.linspace(to_mel(LOWEST), to_mel(HIGHEST), BANDS + 2)
    return np.where(mel < 15, 200 * mel / 3, linear * np.exp(step * (mel - 15)))


@cache
def _bands() -> NDArray[np.float32]:
    """Weight of each Fourier bin in each band, (BANDS, 1 + FFT // 2); the weights of a band add up to 1."""
    edges, bins = _band_edges(), np.arange(1 + FFT // 2) * (RATE / FFT)
    up = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    down = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    weight_MF = np.maximum(0, np.minimum(up, down))
    return np.asarray(weight_MF / weight_MF.sum(1, keepdims=True), np.float32)


def _amplitudes(mel_TM: NDArray[np.float32]) -> NDArray[np.float32]:
    """Non-negative Fourier amplitudes (T, 1 + FFT // 2) whose bands are nearest to a spectrogram's."""
    bands_MF = _bands()
    # Models may ask for anything; beyond this no sound could be, and exp would overflow.
    wanted_TM = np.exp(np.minimum(mel_TM, 3.0)).astype(np.float32)
    step = 1 / float(np.linalg.norm(bands_MF, 2)) ** 2
    found_TF = np.maximum(wanted_TM @ np.linalg.pinv(bands_MF).T, 0).astype(np.float32)
    ahead_TF, t = found_TF, 1.0
    for _ in range(_LEAST_SQUARES):
        slope_TF = (ahead_TF @ bands_MF.T - wanted_TM) @ bands_MF
        after_TF = np.maximum(ahead_TF - step * slope_TF, 0)
        t_after = (1 + (1 + 4 * t * t) ** 0.5) / 2
        ahead_TF = after_TF + ((t - 1) / t_after) * (after_TF - found_TF)
        found_TF, t = after_TF, t_after
    return np.asarray(found_TF, np.float32)
