"""Sections of the report: whatever a model made can be looked at or played, and its text is never taken for HTML."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmgen.evaluation.evaluate import keep
from mmgen.evaluation.report.tiles import section
from mmgen.evaluation.tasks.task import Section
from mmgen.examples import Example
from mmgen.modalities import image
from mmgen.modalities.music import Tune

TONE = np.sin(np.arange(8000) / 16_000 * 2 * np.pi * 440).astype(np.float32) * 0.5


def shown(tmp_path: Path, **media: Any) -> str:
    made = Section("s", "Title <b>", "about", [Example("<script>", media, [("wrong & <i>", False)])])
    return section(keep(made, tmp_path), tmp_path)


def test_titles_and_remarks_are_text_and_not_html(tmp_path: Path) -> None:
    page = shown(tmp_path, said="<img src=x>")

    assert "<script>" not in page
    assert "<img" not in page
    assert "wrong &amp; &lt;i&gt;" in page


def test_a_sound_has_a_player_that_plays_it_and_a_spectrogram(tmp_path: Path) -> None:
    import soundfile

    page = shown(tmp_path, made=TONE)

    content = re.search(r'src="data:audio/ogg;base64,([^"]+)"', page)
    assert content is not None
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(content[1])))
    assert rate == 16_000
    assert np.abs(np.fft.rfft(samples[:8000])).argmax() * 2 == pytest.approx(440, abs=4)
    assert "data:image/webp" in page
    assert (tmp_path / "examples" / "s-000-0.wav").is_file()


def test_a_tune_has_its_score_a_player_and_its_abc(tmp_path: Path) -> None:
    page = shown(tmp_path, tune=Tune("X:1\nT:A <b>\nM:4/4\nL:1/4\nK:C\nCDEF|GABc|]"))

    assert "<audio" in page
    assert "T:A &lt;b&gt;" in page
    assert image.read((tmp_path / "examples" / "s-000-0.png").read_bytes(), "score").shape[1] > 300


def test_a_picture_stands_in_the_page_and_on_the_sheet(tmp_path: Path) -> None:
    red = np.full((32, 32, 3), (200, 0, 0), np.uint8)

    page = shown(tmp_path, real=red, drawn=red)

    assert page.count("data:image/png") == 2
    sheet = image.read((tmp_path / "s.png").read_bytes(), "sheet")
    assert (sheet == red[0, 0]).all(axis=2).sum() > 2 * 32 * 32
