"""The `prompts` data set: telephone prompts of Asterisk, read by one speaker, with what is said.

Two packages of Debian: one holds the clips as G.722 (ITU-T, 16 kHz, 64 kbit/s), the other the transcripts. The `G722`
package decodes them; it is integer arithmetic, so the samples are the same everywhere (and the same as FFmpeg's).

Transcripts are normalised to what a recogniser can be asked for: small letters, apostrophes and single spaces. What
stands in brackets is dropped, digits and signs become words (`press 1` is `press one`, `*` is `star`, `#` is `pound`),
letters with dots are spelled (`A.M.` is `a m`), hyphens part words, and eight misspellings are mended. Left out are
clips without speech (tones, silence, monkeys), one that the transcript does not say how to read (H.323), and three of
more than `MAX_CHARACTERS`.

Splits are by transcript, so no sentence is in two. Only sentences of two words or more are held out: a word alone that
was never heard cannot be told from its sound, in spelling least of all. `test` is a fifth of the sentences; its facts
say whether all words of a sentence occur in the training split (`words` is `known words`) or not (`new words`).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mmgen.data.shards import Sample
from mmgen.errors import DataError
from mmgen.modalities import sound

TITLE = "Telephone prompts with their transcripts"
PACKAGES = ("asterisk-core-sounds-en-g722", "asterisk-core-sounds-en")
LICENCES = (
    {
        "what": "recordings and transcripts",
        "licence": "CC-BY-SA-3.0",
        "credit": "Asterisk Core Sounds, recorded by Allison Smith, financed by Digium, Inc.",
        "url": "https://creativecommons.org/licenses/by-sa/3.0/",
    },
)
MODALITIES = ("sound", "text")
LANGUAGES = ("en",)
SPLITS = ("train", "test")

MAX_CHARACTERS = 400
WORDS = ("known words", "new words")

_CLIPS = "./usr/share/asterisk/sounds/en_US_f_Allison/"
_TEXTS = "./usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz"
_TEST = 0.2
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_SIGNS = {"*": " star ", "#": " pound ", "&": " and "}
_MENDED = {
    "decending": "descending",
    "exclaimation": "exclamation",
    "fourtieth": "fortieth",
    "indentified": "identified",
    "represenatives": "representatives",
    "thru": "through",
    "umute": "unmute",
    "witheld": "withheld",
}
_DROPPED = re.compile(r"\[.*?\]|\(.*?\)|<.*?>")
_SPELLED = re.compile(r"\b[A-Za-z]\.(?:[A-Za-z]\.)+")


def samples(files: dict[str, Path]) -> Iterator[tuple[str, Sample]]:
    """Yield (split, sample) in the order of the clips' names.

    Args:
        files: the `.deb` of each of `PACKAGES`, already checked by hash.

    Raises:
        DataError: a package is not the one that this code was written for.
    """
    spoken = _transcripts(files["asterisk-core-sounds-en"])
    clips = {name: data for name, data in _members(files["asterisk-core-sounds-en-g722"]) if name.endswith(".g722")}
    said: dict[str, str] = {}
    for name in sorted(clips):
        key = name.removeprefix(_CLIPS).removesuffix(".g722")
        if key not in spoken:
            raise DataError(f"clip {key!r} has no transcript; the two packages are not of one version")
        text = normalised(spoken[key])
        if 0 < len(text) <= MAX_CHARACTERS and not re.search(r"\d", text):
            said[name] = text
    held_out = _held_out(set(said.values()))
    known = {word for text in said.values() if text not in held_out for word in text.split()}
    for name, text in said.items():
        pcm = _decoded(clips[name])
        facts = {
            "captions": {"en": text},
            "concept": text,
            "group": "prompts",
            "words": WORDS[not known.issuperset(text.split())],
            "seconds": round(len(pcm) / sound.RATE, 3),
            "speaker": "Allison Smith",
        }
        key = "prompt-" + re.sub(r"[^A-Za-z0-9-]+", "-", name.removeprefix(_CLIPS).removesuffix(".g722"))
        parts = {"wav": sound.encode(pcm), "txt": text.encode(), "json": json.dumps(facts, sort_keys=True).encode()}
        yield "test" if text in held_out else "train", Sample(key, parts)


def normalised(transcript: str) -> str:
    """What is said, in small letters, apostrophes and single spaces; empty when it is no speech.

    >>> normalised("Press 1 to re-record, or press # at 8 A.M. (beep)")
    'press one to re record or press pound at eight a m'
    """
    text = _DROPPED.sub(" ", transcript.replace("’", "'"))
    text = _SPELLED.sub(lambda match: match[0].replace(".", " "), text)
    text = re.sub(r"\bwww\.(\w+)\.(\w+)", r"w w w dot \1 dot \2", text)
    for sign, word in _SIGNS.items():
        text = text.replace(sign, word)
    # One digit is a word; how longer numbers are read, the transcript does not say.
    text = re.sub(r"(?<!\d)\d(?![\d.]*\d)", lambda match: f" {_DIGITS[int(match[0])]} ", text)
    text = re.sub(r"[^a-z0-9' ]", " ", text.lower())
    return " ".join(_MENDED.get(word, word) for word in text.split() if word.strip("'"))


def _held_out(texts: set[str]) -> set[str]:
    """The transcripts of `test`."""
    sentences = [text for text in texts if " " in text]
    sentences.sort(key=lambda text: hashlib.sha256(f"prompts:{text}".encode()).digest())
    return set(sentences[: round(_TEST * len(sentences))])


def _transcripts(deb: Path) -> dict[str, str]:
    """Clip -> transcript as the package writes it."""
    for name, data in _members(deb):
        if name == _TEXTS:
            lines = gzip.decompress(data).decode().splitlines()
            pairs = (line.split(":", 1) for line in lines if ":" in line and not line.startswith(";"))
            return {key.strip(): text for key, text in pairs}
    raise DataError(f"{deb.name!r} has no {_TEXTS!r}; it is not the package that was pinned")


def _members(deb: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of the plain files of a Debian package: a tar file within an ar archive."""
    data = deb.read_bytes()
    place = 8
    while data[:8] == b"!<arch>\n" and place + 60 <= len(data):
        name, size = data[place : place + 16].decode("ascii").strip(), int(data[place + 48 : place + 58])
        place += 60
        if name.startswith("data.tar"):
            with tarfile.open(fileobj=io.BytesIO(data[place : place + size])) as tar:
                for member in tar:
                    content = tar.extractfile(member) if member.isreg() else None
                    if content is not None:
                        yield member.name, content.read()
            return
        place += size + size % 2
    raise DataError(f"{deb.name!r} is no Debian package; delete it")


def _decoded(clip: bytes) -> sound.Sound:
    from G722 import G722

    pcm = np.asarray(G722(sound.RATE, 64_000).decode(clip), np.int16)
    return np.asarray(pcm / 32768, np.float32)
