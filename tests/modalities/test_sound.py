"""Sound: odd but legal files come out right, everything else is refused by name, spectrograms lead back to sound."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgen.errors import DataError
from mmgen.modalities import media, sound
from mmgen.modalities.sound import BANDS, HOP, RATE


def tone(hertz: float, seconds: float = 0.5, rate: int = RATE) -> sound.Sound:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def voice(seconds: float = 1.2) -> sound.Sound:
    """Twenty harmonics of a gliding pitch, in syllables: as hard to bring back as a vowel."""
    t = np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(140 + 30 * np.sin(2 * np.pi * t)) / RATE
    wave = sum(np.sin(n * phase) / n for n in range(1, 21))
    return (0.2 * wave * (0.55 + 0.45 * np.sin(2 * np.pi * 4 * t))).astype(np.float32)


def encoded(values: Any, kind: str, rate: int = RATE, subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, values, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def loudest_hertz(values: sound.Sound) -> float:
    return float(np.abs(np.fft.rfft(values)).argmax() * RATE / len(values))


def altered(data: bytes, place: int, new: bytes) -> bytes:
    return data[:place] + new + data[place + len(new) :]


WAV, FLAC, OGG = (encoded(tone(440), kind) for kind in ("WAV", "FLAC", "OGG"))


@pytest.mark.parametrize("data", [WAV, FLAC, OGG], ids=["wav", "flac", "ogg"])
def test_three_formats_give_the_same_tone(data: bytes) -> None:
    values = sound.read(data, "a")

    assert values.dtype == np.float32
    assert len(values) == RATE // 2
    assert np.abs(values - tone(440)).max() < 0.05


def test_a_wav_file_keeps_every_value_exactly() -> None:
    values = np.random.default_rng(0).integers(-32768, 32768, 1000).astype(np.float32) / 32768

    data = sound.encode(values)

    assert np.array_equal(sound.read(data, "a"), values)
    assert data == sound.encode(sound.read(data, "a"))
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        assert (file.format, file.subtype, file.samplerate, file.channels) == ("WAV", "PCM_16", RATE, 1)


def test_values_beyond_full_scale_are_cut_off_not_wrapped() -> None:
    loud = np.array([2.0, -3.0, 0.5], np.float32)

    assert sound.read(sound.encode(loud), "a").tolist() == [32767 / 32768, -1, 0.5]
    assert sound.read(encoded(loud, "WAV", subtype="FLOAT"), "a").tolist() == [1, -1, 0.5]


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 48000])
def test_other_rates_are_resampled(rate: int) -> None:
    values = sound.read(encoded(tone(440, rate=rate), "WAV", rate), "a")

    assert abs(len(values) - RATE // 2) <= 1
    assert abs(loudest_hertz(values) - 440) < 3


def test_channels_are_averaged() -> None:
    both = np.stack([tone(440), np.zeros(RATE // 2, np.float32)], axis=1)

    assert np.abs(sound.read(encoded(both, "WAV", subtype="FLOAT"), "a") - tone(440) / 2).max() < 1e-6


def streaminfo(frames: int, rate: int = RATE, channels: int = 1) -> bytes:
    """What a FLAC file says of itself."""
    return struct.pack(">Q", rate << 44 | (channels - 1) << 41 | 15 << 36 | frames)


NOT_FINITE = tone(440)
NOT_FINITE[7] = np.nan
REFUSED = {
    "nothing": b"",
    "a text": b"not a sound at all",
    "an MP3": b"ID3\x03\0\0\0\0\0\0" + bytes(100),
    "an AIFF": encoded(tone(440), "AIFF"),
    "an AU": encoded(tone(440), "AU"),
    "a WAV of no samples": encoded(tone(440, 0), "WAV"),
    "a WAV that is not finite": encoded(NOT_FINITE, "WAV", subtype="FLOAT"),
    "a WAV of 4 GB by its header": altered(WAV, 40, b"\xff\xff\xff\xff"),
    "a WAV of 60,000 channels": altered(WAV, 22, struct.pack("<H", 60_000)),
    "a WAV of 16 channels": encoded(np.zeros((100, 16), np.float32), "WAV"),
    "a WAV of 4 GHz": altered(WAV, 24, struct.pack("<I", 2**32 - 1)),
    "a WAV of 0 Hz": altered(WAV, 24, bytes(4)),
    "a FLAC of 600 hours by its header": altered(FLAC, 18, streaminfo(2**35)),
    "a FLAC of six minutes": altered(FLAC, 18, streaminfo(360 * RATE)),
    "a FLAC of too many channels and minutes": altered(FLAC, 18, streaminfo(299 * 192_000, 192_000, 8)),
    "a WAV cut short": WAV[: len(WAV) // 2],
    "a WAV without its last value": WAV[:-2],
    "a FLAC cut short": FLAC[: len(FLAC) // 2],
    "an Ogg cut short": OGG[: len(OGG) // 2],
    "the head of a WAV": WAV[:20],
    "the head of a FLAC": FLAC[:4],
    "the head of an Ogg": OGG[:30],
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_sound_is_refused_by_name(name: str) -> None:
    with pytest.raises(DataError, match=r"'hello\.wav': ") as caught:
        sound.read(REFUSED[name], "hello.wav")

    assert str(caught.value).isprintable()


@settings(max_examples=120, deadline=None, derandomize=True, database=None)
@given(st.sampled_from([WAV, FLAC, OGG]), st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=6))
def test_flipped_bytes_give_a_sound_or_a_refusal(data: bytes, flips: list[tuple[int, int]]) -> None:
    content = bytearray(data)
    for place, value in flips:
        content[place % len(content)] = value
    try:
        values = sound.read(bytes(content), "x")
    except DataError:
        return
    assert values.dtype == np.float32
    assert values.ndim == 1
    assert np.abs(values).max() <= 1


def test_a_file_is_a_sound_of_the_modality(tmp_path: Path) -> None:
    sound.write(tone(440), tmp_path / "a.wav")

    assert media.kind(tone(440)) == "sound"
    assert media.encode(tone(440)) == ("wav", (tmp_path / "a.wav").read_bytes())


def test_a_tone_lights_its_own_band() -> None:
    centres = []
    for hertz in (200, 1000, 4000):
        mel = sound.log_mel(tone(hertz))
        assert mel.shape == (1 + RATE // 2 // HOP, BANDS)
        assert mel.dtype == np.float32
        centres.append(int(mel[20].argmax()))
        assert mel[20].max() - np.median(mel[20]) > np.log(100)
    assert centres == sorted(set(centres))
    assert sound.log_mel(np.zeros(1, np.float32)).shape == (1, BANDS)


def test_a_spectrogram_leads_back_to_its_sound() -> None:
    real = voice()
    mel = sound.log_mel(real)

    again = sound.from_log_mel(mel)

    wanted, found = np.exp(mel), np.exp(sound.log_mel(again))
    convergence = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
    assert len(again) == (len(mel) - 1) * HOP
    assert convergence < 0.1
    assert np.array_equal(again, sound.from_log_mel(mel))
    with pytest.raises(ValueError, match=r"got \(3, 7\)"):
        sound.from_log_mel(np.zeros((3, 7), np.float32))


def test_silence_comes_back_as_silence() -> None:
    assert np.abs(sound.from_log_mel(sound.log_mel(np.zeros(RATE, np.float32)))).max() < 1e-3


def test_a_picture_shows_low_sounds_below_and_time_to_the_right() -> None:
    low, high = (sound.picture(np.concatenate([tone(hertz), 0 * tone(hertz)])).sum(2) for hertz in (200, 5000))

    height = sound.BANDS * 2
    rows = [picture[:height, 20].argmax() for picture in (low, high)]
    assert rows[0] > height * 0.8
    assert rows[1] < height * 0.3
    assert low[:height, 20].max() > 2 * low[:height, -20].max()
    long = sound.picture(np.tile(tone(440), 60))
    assert long.shape == (166, 646, 3)
    assert long.dtype == np.uint8
