"""The `chorales` data set: Bach's four-part chorales as quarter-note piano rolls, in the shape of JSB Chorales.

JSB Chorales (Allan and Williams 2005; Boulanger-Lewandowski et al. 2012, arXiv:1206.6392) holds 382 chorales as the
set of pitches that sound at each quarter note, split 229 / 76 / 77. Its files are not in a package. The nearest that
is: the MusicXML scores of the `music21` package, each of whose parts soprano, alto, tenor and bass is read at every
quarter note from the first on. Keys are the original ones. A note that sounds on is written again: the roll does not
tell a held note from a repeated one. A chorale is an ABC tune of chords.

Chorales of which half of the chords, transposed or not, come in the same order in another one are one concept: the
same setting under two numbers. Splits are by concept, in JSB's shares: 60 % train, 20 % valid, 20 % test. Nats a frame
can be compared with what is published for JSB Chorales in size and kind, not digit by digit: pieces and split differ.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import xml.etree.ElementTree as ET
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from mmgen.data.shards import Sample
from mmgen.errors import DataError
from mmgen.modalities.music import encode, from_frames

TITLE = "Bach chorales as quarter-note rolls of four voices"
PACKAGES = ("music21",)
LICENCES = (
    {
        "what": "music",
        "licence": "public domain",
        "credit": "Johann Sebastian Bach",
        "url": "https://imslp.org/wiki/Category:Bach,_Johann_Sebastian",
    },
    {
        "what": "encodings in MusicXML",
        "licence": "distributed with the permission of the encoders (music21 corpus/license.txt)",
        "credit": "Margaret Greentree and the music21 project",
        "url": "https://github.com/cuthbertLab/music21/blob/master/music21/corpus/license.txt",
    },
)
MODALITIES = ("music",)
LANGUAGES = ("en",)
SPLITS = ("train", "valid", "test")

VOICES = ("Soprano", "Alto", "Tenor", "Bass")
_SHARES = (("train", 0.6), ("valid", 0.8), ("test", 1.0))
_NAME = re.compile(r"music21/corpus/bach/bwv([0-9a-z.-]+)\.(mxl|xml)")
_MAX_XML = 8 * 2**20
_STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_KEYS = ("Gb", "Db", "Ab", "Eb", "Bb", "F", "C", "G", "D", "A", "E", "B", "F#")
"""Major keys from six flats to six sharps: only the signature counts."""
_RUN, _SHARED, _MIN_FRAMES = 4, 0.5, 12


def samples(files: dict[str, Path]) -> Iterator[tuple[str, Sample]]:
    """Yield (split, sample) in the order of the files' names.

    Args:
        files: the wheel of each of `PACKAGES`, already checked by hash.

    Raises:
        DataError: a score is not the MusicXML that this code was written for.
    """
    found: dict[str, tuple[list[list[int]], str, str, int]] = {}
    with zipfile.ZipFile(files["music21"]) as package:
        for name in sorted(package.namelist()):
            if match := _NAME.fullmatch(name):
                score = _root(package.read(name), match[2] == "mxl", name)
                parts = _voices(score)
                if parts is not None:
                    found["bwv-" + match[1].replace(".", "-")] = _roll(parts)
    found = {key: value for key, value in found.items() if len(value[0]) >= _MIN_FRAMES}
    concepts = _concepts({key: frames for key, (frames, *_) in found.items()})
    order = sorted(set(concepts.values()), key=lambda name: hashlib.sha256(f"chorales:{name}".encode()).digest())
    rank = {concept: place / len(order) for place, concept in enumerate(order)}
    for key, (frames, signature, metre, upbeat) in found.items():
        split = next(split for split, share in _SHARES if rank[concepts[key]] < share)
        title = "BWV " + key.removeprefix("bwv-").replace("-", ".")
        tune = from_frames(frames, title=title, key=signature, metre=metre, upbeat=upbeat)
        caption = f"a four-part chorale, {metre}"
        facts = {
            "captions": {"en": caption},
            "concept": concepts[key],
            "group": "chorales",
            "metre": metre,
            "title": title,
        }
        text = json.dumps(facts, sort_keys=True).encode()
        yield split, Sample(key, {"abc": encode(tune), "txt": caption.encode(), "json": text})


def _root(data: bytes, zipped: bool, name: str) -> ET.Element:
    """The root of a score, plain or zipped. Document types may be named but declare nothing: no entity is expanded."""
    if zipped:
        with zipfile.ZipFile(io.BytesIO(data)) as score:
            inner = [i for i in score.infolist() if re.fullmatch(r"[^/]+\.(xml|musicxml)", i.filename)]
            if len(inner) != 1 or inner[0].file_size > _MAX_XML:
                raise DataError(f"{name!r} holds {len(inner)} scores; want one of at most {_MAX_XML} bytes")
            data = score.read(inner[0])
    if b"<!ENTITY" in data or b"<!ELEMENT" in data:
        raise DataError(f"{name!r} declares XML entities; a score has none")
    root = ET.fromstring(data)  # noqa: S314 - without entities there is nothing to expand
    if root.tag != "score-partwise":
        raise DataError(f"{name!r} is a {root.tag}; want score-partwise")
    return root


def _voices(score: ET.Element) -> list[ET.Element] | None:
    """The parts soprano, alto, tenor and bass; None when one is missing or there are two of it."""
    names = {part.get("id"): part.findtext("part-name", "") for part in score.iter("score-part")}
    found = []
    for voice in VOICES:
        of = [part for part in score.iter("part") if names.get(part.get("id"), "").startswith(voice)]
        if len(of) != 1:
            return None
        found += of
    return found


def _roll(parts: list[ET.Element]) -> tuple[list[list[int]], str, str, int]:
    """Pitches at each quarter note, signature, metre, and quarter notes before the first whole bar."""
    rolls = [_part(part) for part in parts]
    length = max(len(roll) for roll in rolls)
    frames = [sorted({p for roll in rolls for p in roll[at : at + 1] if p}, reverse=True) for at in range(length)]
    while frames and not frames[-1]:
        frames.pop()
    fifths = int(parts[0].findtext(".//key/fifths", "0"))
    beats, unit = parts[0].findtext(".//time/beats", "4"), parts[0].findtext(".//time/beat-type", "4")
    metre = f"{beats}/{unit}"
    first, divisions = parts[0].find("measure"), int(parts[0].findtext(".//divisions", "1"))
    upbeat = 0 if first is None else round(sum(_duration(note) for note in first.iter("note")) / divisions)
    whole = int(beats) * 4 // int(unit)
    return frames, _KEYS[fifths + 6], metre, upbeat % whole


def _part(part: ET.Element) -> list[int]:
    """MIDI pitch of a part at each quarter note, 0 for a rest; of a chord the first note."""
    sounding: list[tuple[float, float, int]] = []
    now, divisions = 0.0, 1
    for measure in part.iter("measure"):
        for item in measure:
            if item.tag == "attributes":
                divisions = int(item.findtext("divisions", str(divisions)))
            elif item.tag in ("backup", "forward"):
                now += _duration(item) / divisions * (1 if item.tag == "forward" else -1)
            elif item.tag == "note" and item.find("chord") is None:
                pitch, length = item.find("pitch"), _duration(item) / divisions
                if pitch is not None:
                    sounding.append((now, now + length, _midi(pitch)))
                now += length
    roll = [0] * round(max((end for _, end, _ in sounding), default=0))
    for start, end, number in sounding:
        for place in range(len(roll)):
            if start - 1e-6 <= place < end - 1e-6:
                roll[place] = number
    return roll


def _duration(item: ET.Element) -> float:
    """In divisions of a quarter note; grace notes have none. A rest is a note without a pitch."""
    return 0.0 if item.find("chord") is not None else float(item.findtext("duration", "0"))


def _midi(pitch: ET.Element) -> int:
    step, octave = pitch.findtext("step", ""), int(pitch.findtext("octave", "4"))
    return 12 * (octave + 1) + _STEPS[step] + int(float(pitch.findtext("alter", "0")))


def _concepts(rolls: dict[str, list[list[int]]]) -> dict[str, str]:
    """The concept of each key: chorales that share half of their runs of chords are joined under the first key."""
    parent = {key: key for key in rolls}

    def root(key: str) -> str:
        while parent[key] != key:
            key = parent[key]
        return key

    runs: dict[str, set[tuple[tuple[int, ...], ...]]] = {}
    where: dict[tuple[tuple[int, ...], ...], list[str]] = defaultdict(list)
    for key, frames in rolls.items():
        runs[key] = set()
        for place in range(len(frames) - _RUN + 1):
            run = frames[place : place + _RUN]
            lowest = min((pitch for frame in run for pitch in frame), default=0)
            runs[key].add(tuple(tuple(pitch - lowest for pitch in frame) for frame in run))
        common: dict[str, int] = defaultdict(int)
        for found in runs[key]:
            for other in where[found]:
                common[other] += 1
            where[found].append(key)
        for other, count in common.items():
            if count >= _SHARED * min(len(runs[key]), len(runs[other])):
                first, second = sorted((root(key), root(other)))
                parent[second] = first
    return {key: root(key) for key in rolls}
