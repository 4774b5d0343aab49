"""Captions: one normal form, and nothing in them that a reader cannot see."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from mmgen.errors import DataError
from mmgen.modalities import text

REFUSED = {
    "empty": b"",
    "only spaces": b" \n ",
    "not UTF-8": "café".encode("latin-1"),
    "a lone surrogate": b"\xed\xa0\x80",
    "a NUL": b"red\x00heart",
    "a terminal escape": b"\x1b[31mred",
    "a line break": b"red\nheart",
    "a Unicode line break": "red\u2028heart".encode(),
    "a direction override": "red\u202eheart".encode(),
    "a direction isolate": "red\u2067heart".encode(),
    "501 characters": b"m" * 501,
    "a megabyte": b"m" * 2**20,
    "100,000 accents": b"e" + "\u0301".encode() * 100_000,
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name: str) -> None:
    with pytest.raises(DataError, match=r"'heart\.txt': ") as caught:
        text.read(REFUSED[name], "heart.txt")

    assert str(caught.value).isprintable()


def test_the_normal_form_is_composed_and_without_surrounding_space() -> None:
    assert text.read(unicodedata.normalize("NFD", " café\n").encode(), "x") == "café"


@pytest.mark.parametrize(
    "caption", ["red heart", "красное сердце", "قلب أحمر", "می\u200cخواهم", "❤\ufe0f", "<|endoftext|>", "{{$}}"]
)
def test_ordinary_captions_pass_unchanged(caption: str) -> None:
    assert text.read(caption.encode(), "x") == caption


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    text.write("сердце", tmp_path / "a.txt")

    assert text.read((tmp_path / "a.txt").read_bytes(), "a.txt") == "сердце"


def test_a_list_of_captions_is_escaped() -> None:
    assert text.show(["<b>", "a & b"]) == '<ol><li dir="auto">&lt;b&gt;</li><li dir="auto">a &amp; b</li></ol>'
