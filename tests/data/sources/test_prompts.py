"""The prompts data set: real clips with what is said in them, no sentence in two splits."""

from __future__ import annotations

import io
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest

from mmgen.data.corpus import Corpus, load_corpus
from mmgen.data.sources import prompts as source
from mmgen.data.sources.build import build
from mmgen.errors import DataError
from mmgen.modalities import sound

pytest.importorskip("G722")


@pytest.fixture(scope="module")
def splits(prompts: Path) -> dict[str, Corpus]:
    return {split: load_corpus(prompts, split) for split in source.SPLITS}


def test_no_sentence_is_in_two_splits(splits: dict[str, Corpus]) -> None:
    train, test = (set(splits[split].captions("en")) for split in ("train", "test"))

    assert (len(splits["train"]), len(splits["test"])) == (482, 65)
    assert not train & test
    assert all(" " in text for text in test)
    words = {word for text in train for word in text.split()}
    for text, group in zip(splits["test"].captions("en"), splits["test"].values("words"), strict=True):
        assert group == source.WORDS[not words.issuperset(text.split())]


def test_transcripts_are_plain_words(splits: dict[str, Corpus]) -> None:
    for corpus in splits.values():
        for text in corpus.captions("en"):
            assert re.fullmatch(r"[a-z']+( [a-z']+)*", text)
            assert len(text) <= source.MAX_CHARACTERS


def test_clips_are_speech_of_the_length_that_is_said(splits: dict[str, Corpus]) -> None:
    test = splits["test"]
    for clip, seconds, text in zip(test.sounds(), test.values("seconds"), test.captions("en"), strict=True):
        assert abs(len(clip) - seconds * sound.RATE) < 10
        assert 0.05 < np.abs(clip).max() <= 1
        assert 2 < len(text) / seconds < 22  # characters a second


def test_a_second_build_has_the_same_bytes(prompts: Path, tmp_path: Path) -> None:
    again = build("prompts", tmp_path)

    files = sorted(path.name for path in prompts.iterdir())
    assert files == sorted(path.name for path in again.iterdir())
    assert all((again / name).read_bytes() == (prompts / name).read_bytes() for name in files)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Dial 1 if you wish", "dial one if you wish"),
        ("...to lock, or unlock the conference.", "to lock or unlock the conference"),
        ("A.M.", "a m"),
        ("O'clock", "o'clock"),
        ("visit www.asterisk.org.", "visit w w w dot asterisk dot org"),
        ('IAX (note: does not say "2")', "iax"),
        ("exclaimation-point [!]", "exclamation point"),
        ("press * to toggle, press # to enter", "press star to toggle press pound to enter"),
        ("<beep ascending>", ""),
        ("(2 seconds of silence)", ""),
        ("H.323", "h 323"),
    ],
)
def test_transcripts_are_normalised(written: str, said: str) -> None:
    assert source.normalised(written) == said


def package(name: str, files: dict[str, bytes], folder: Path) -> Path:
    """A Debian package of a few files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as tar:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    members = {"debian-binary": b"2.0\n", "data.tar.xz": buffer.getvalue()}
    data = b"!<arch>\n"
    for member_name, content in members.items():
        data += f"{member_name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode() + content
        data += b"\n" * (len(content) % 2)
    (folder / name).write_bytes(data)
    return folder / name


def test_packages_of_another_kind_are_refused(tmp_path: Path) -> None:
    clips = package("clips.deb", {"./usr/share/asterisk/sounds/en_US_f_Allison/hello.g722": bytes(80)}, tmp_path)
    no_texts = package("texts.deb", {"./usr/share/doc/other.gz": b""}, tmp_path)
    (tmp_path / "broken.deb").write_bytes(b"not an archive")

    for texts, message in ((no_texts, "has no './usr"), (tmp_path / "broken.deb", "no Debian package")):
        with pytest.raises(DataError, match=message):
            list(source.samples({"asterisk-core-sounds-en-g722": clips, "asterisk-core-sounds-en": texts}))
