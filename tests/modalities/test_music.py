"""Music: tunes are read, drawn and played within limits, and what is not our ABC is refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmgen.data.corpus import load_corpus
from mmgen.data.sources.build import build
from mmgen.errors import DataError
from mmgen.modalities import music
from mmgen.modalities.scores.abc import QUARTER, WHOLE

HEAD = "X:1\nT:Test\nM:4/4\nL:1/8\nK:{key}\n"


def tune(body: str, key: str = "C") -> music.Tune:
    return music.read((HEAD.format(key=key) + body).encode(), "test.abc")


def pitches(found: music.Tune) -> list[int]:
    return [note.pitch for note in found.score.sounding()]


@pytest.mark.parametrize(
    ("key", "body", "expected"),
    [
        ("C", "CDEFGABc|", [60, 62, 64, 65, 67, 69, 71, 72]),
        ("D", "CDEF GABc|", [61, 62, 64, 66, 67, 69, 71, 73]),
        ("Bb", "BEbe z4|", [70, 63, 82, 75]),
        ("Am", "^FF=F_E z4|", [66, 66, 65, 63]),
        ("C", "C,c'[CEG] z5|", [48, 84, 60, 64, 67]),
    ],
)
def test_letters_sound_as_the_key_and_the_accidentals_say(key: str, body: str, expected: list[int]) -> None:
    assert pitches(tune(body, key)) == expected


def test_lengths_broken_rhythm_tuplets_and_ties_add_up() -> None:
    eighth = WHOLE // 8

    sounding = tune("CD/E/ F>G (3ABc d-d|").score.sounding()

    assert [note.length for note in sounding] == [
        eighth, eighth // 2, eighth // 2, 3 * eighth // 2, eighth // 2, *[2 * eighth // 3] * 3, 2 * eighth,
    ]  # fmt: skip
    assert sum(note.length for note in sounding) == WHOLE


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "0 bytes of ABC"),
        (b"\xff\xfe", "not UTF-8"),
        (b"X:1\nT:x\nL:1/8\nK:C\nCDE|", "no field M:"),
        (b"X:1\nM:4/4\nL:1/8\nK:H\nCDE|", "want a key such as D"),
        (b"X:1\nM:4/4\nL:1/8\nK:C\nC D ?|", "is not ABC that we read"),
        (b"X:1\nM:4/4\nL:1/8\nK:C\n%%postscript quit\nC|", "comment or directive"),
        (b"X:1\nM:4/4\nL:1/8\nK:C\nC\x07|", "control character"),
        (b"X:1\nM:4/4\nL:1/8\nK:C\nz8|", "with one that sounds"),
        (b"X:1\nM:4/4\nL:1/8\nK:C\n" + b"C99" * 3000 + b"|", "longer than"),
        (b"X:1\nM:4/4\nL:1/8\nK:C\n" + b"C" * 70_000, "bytes of ABC"),
        (b"X:1\nM:4/4\nL:1/8\nK:C\n_C,,,|", "MIDI pitch"),
    ],
)
def test_what_is_not_our_abc_is_refused_in_one_line(content: bytes, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        music.read(content, "bad.abc")

    assert "\n" not in str(caught.value)


def test_every_tune_of_the_data_set_is_read_written_and_drawn_alike(tunes: Path) -> None:
    for found in load_corpus(tunes, "test").tunes():
        again = music.read(music.encode(found), "again")
        assert again.score.events == found.score.events
        drawn = music.picture(found)
        assert drawn.dtype == np.uint8
        assert (drawn < 128).any()


def test_a_tune_sounds_as_long_and_as_high_as_it_is_written() -> None:
    found = music.read(b"X:1\nM:4/4\nL:1/4\nQ:1/4=60\nK:C\nA4|", "a")

    sound = music.sound(found)

    assert len(sound) / music.RATE == pytest.approx(4, abs=0.4)
    spectrum = np.abs(np.fft.rfft(sound[: music.RATE]))
    assert spectrum.argmax() == pytest.approx(440, abs=2)
    assert np.abs(sound).max() <= 1


def test_frames_survive_being_written_as_a_tune() -> None:
    frames = [(72, 67, 64, 48), (71, 67, 62, 43), (), (73, 69, 64, 45)]

    made = music.from_frames(frames, title="x")

    assert music.frames(music.read(music.encode(made), "x")) == frames
    assert all(event.length == QUARTER for event in made.score.events if hasattr(event, "pitches"))


def test_a_second_build_has_the_same_bytes_and_splits_share_no_concept(tunes: Path, tmp_path: Path) -> None:
    again = build("tunes", tmp_path)

    assert all((again / path.name).read_bytes() == path.read_bytes() for path in tunes.iterdir())
    train, test = load_corpus(tunes, "train"), load_corpus(tunes, "test")
    assert not set(train.concepts) & set(test.concepts)
    assert len(train) > 800
