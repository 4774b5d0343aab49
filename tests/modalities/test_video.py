"""Videos: what is written is read back, other rates are resampled, what is hostile is refused in one line."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmgen.errors import ConfigError, DataError
from mmgen.modalities import media, video


def clip(frames: int = 5, height: int = 20, width: int = 30) -> video.Video:
    return np.random.default_rng(0).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def animated(form: str, durations: list[int]) -> bytes:
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (8, 8), (40 * place, 0, 0)) for place in range(len(durations))]
    frames[0].save(buffer, form, save_all=True, append_images=frames[1:], duration=durations, loop=0, lossless=True)
    return buffer.getvalue()


def test_what_is_written_is_read_back_pixel_by_pixel(tmp_path: Path) -> None:
    video.write(clip(), tmp_path / "clip.webp")

    assert np.array_equal(video.read((tmp_path / "clip.webp").read_bytes(), "clip"), clip())


def test_frames_that_repeat_are_kept() -> None:
    still = np.repeat(clip(1), 4, 0)
    paused = np.concatenate([clip(2)[:1], np.repeat(clip(2)[1:], 3, 0), clip(2)[:1]])

    assert np.array_equal(video.read(video.encode(paused), "paused"), paused)
    with pytest.raises(DataError, match="single picture"):
        video.read(video.encode(still[:1]), "one")


@pytest.mark.parametrize("form", ["WEBP", "GIF", "PNG"])
def test_other_rates_become_ten_frames_a_second(form: str) -> None:
    found = video.read(animated(form, [200, 100, 300]), "x")

    assert [round(int(frame[0, 0, 0]) / 40) for frame in found] == [0, 0, 1, 2, 2, 2]


def test_a_still_picture_another_format_and_nothing_are_refused() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")

    for data, word in ((buffer.getvalue(), "single picture"), (b"RIFFxxxx", "not an animated"), (b"", "0 bytes")):
        with pytest.raises(DataError, match=word) as refused:
            video.read(data, "x.webp")
        assert "'x.webp'" in str(refused.value)
        assert "\n" not in str(refused.value)


def test_a_long_video_and_a_large_one_are_refused_before_all_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="longer than 60 seconds"):
        video.read(animated("WEBP", [40_000, 40_000]), "long")
    monkeypatch.setattr(video, "MAX_VALUES", 1000)
    with pytest.raises(DataError, match="at most 1000 pixels"):
        video.read(video.encode(clip()), "large")


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.binary(max_size=8))
def test_altered_bytes_give_a_video_or_one_clear_line(place: int, noise: bytes) -> None:
    data = bytearray(video.encode(clip(3, 8, 8)))
    start = place % len(data)
    data[start : start + len(noise)] = noise
    with contextlib.suppress(DataError):  # the one error that is documented
        found = video.read(bytes(data[: len(data) - place % 7]), "x")
        assert found.dtype == np.uint8
        assert found.ndim == 4


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="webp"):
        video.write(clip(), tmp_path / "clip.mp4")


def test_a_film_strip_has_the_first_and_the_last_frame() -> None:
    strip = media.picture(clip(25, 16, 16))

    assert np.array_equal(strip[:, :16], clip(25, 16, 16)[0])
    assert np.array_equal(strip[:, -16:], clip(25, 16, 16)[-1])
    assert strip.shape[1] == 10 * 16 + 9 * 2
