"""The `tunes` data set: fiddle tunes of Ryan's Mammoth Collection (1883) as ABC, captioned with kind, key and metre.

The `music21` package keeps 1,059 transcriptions. What is left here is the melody in one normal form: a title, kind,
metre, unit (1/16 in 2/4, else 1/8) and key, then notes, repeats and endings. Fingerings, ornaments, grace notes, slurs
and words are taken out, a double stop keeps its upper note, a tie is dropped. Left out are tunes that change key or
metre, whose bars do not fill their metre, or that are written in something else than `mmgen.modalities.scores.abc`
reads.

Tunes that share a third of their phrases (eight notes in a row, in any key) are one concept; splits are by concept, so
that no test tune is a variant of a training tune: 88 % train, 12 % test.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import string
import unicodedata
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from mmgen.data.shards import Sample
from mmgen.errors import DataError
from mmgen.modalities.scores import abc, abc_parser
from mmgen.modalities.scores.abc import Bar, Note

TITLE = "Fiddle tunes in ABC with kind, key and metre"
PACKAGES = ("music21",)
LICENCES = (
    {
        "what": "tunes",
        "licence": "public domain (collected in 1883)",
        "credit": "Ryan's Mammoth Collection, William Bradbury Ryan, Boston 1883",
        "url": "https://imslp.org/wiki/Ryan%27s_Mammoth_Collection_(Ryan,_William_Bradbury)",
    },
    {
        "what": "transcriptions in ABC",
        "licence": "distributed with the permission of the encoders (music21 corpus/license.txt)",
        "credit": "John Chambers, Ray Davies, Bob Puckette, John B. Walsh and others, as each file's Z: field says",
        "url": "https://github.com/cuthbertLab/music21/blob/master/music21/corpus/license.txt",
    },
)
MODALITIES = ("music", "text")
LANGUAGES = ("en",)
SPLITS = ("train", "test")

KINDS = ("reel", "jig", "slip jig", "hornpipe", "clog", "strathspey", "fling")
METRES = ("2/4", "6/8", "9/8", "2/2", "4/4")
MODES = {"": "major", "m": "minor", "dor": "dorian", "mix": "mixolydian", "lyd": "lydian", "phr": "phrygian"}

_SAME_KIND = {"slipjig": "slip jig", "highland fling": "fling"}
_SAME_METRE = {"C": "4/4", "C|": "2/2"}
_FOLDER = "music21/corpus/ryansMammoth/"
_TEST = 0.12
_PHRASE, _SHARED = 8, 1 / 3

# What is cut out of a body, in this order.
_OUT = (
    (r'"[^"\n]*"', ""),  # fingerings and words above the staff
    (r"!\w+!|\+\w+\+", ""),  # ornaments by name
    (r"\{[^}]*\}", ""),  # grace notes
    (r"=[0-9A-F]{2}|=$", ""),  # what an e-mail program left behind
    (r"\((?![2-9])|\)", ""),  # slurs
    (r"[.~HL-TkmnoprstuvwxyJVU$!+\\-]", ""),  # ornaments by letter, spacers, ties
    (r"\[\||\|\[(?=\s|$)", "|"),
    (r":\|{1,3}:|:\|:", "::"),
    (r"\|{1,2}:{1,2}", "|:"),
    (r":\|[\]|]+", ":|"),
    (r"\|\|\]", "|]"),
    (r":\|:(?!\|)", "::"),
)


@dataclass(frozen=True)
class _Found:
    key: str
    title: str
    kind: str
    metre: str
    unit: str
    signature: str
    events: tuple[Note | Bar, ...]

    def phrases(self) -> set[tuple[int, ...]]:
        """Every `_PHRASE` + 1 notes in a row, as steps from each to the next."""
        steps = [event.pitches[0].step for event in self.events if isinstance(event, Note) and event.pitches]
        moves = [after - before for before, after in itertools.pairwise(steps)]
        return {tuple(moves[place : place + _PHRASE]) for place in range(len(moves) - _PHRASE + 1)}


def samples(files: dict[str, Path]) -> Iterator[tuple[str, Sample]]:
    """Yield (split, sample) in the order of the files' names.

    Args:
        files: the wheel of each of `PACKAGES`, already checked by hash.
    """
    found = list(_tunes(files["music21"]))
    concepts = _concepts(found)
    for tune in found:
        concept = concepts[tune.key]
        draw = int(hashlib.sha256(f"tunes:{concept}".encode()).hexdigest()[:12], 16) / 16**12
        caption = f"{_article(tune.kind)} {tune.kind} in {key_name(tune.signature)}, {tune.metre}"
        facts = {
            "captions": {"en": caption},
            "concept": concept,
            "group": tune.kind,
            "key": tune.signature,
            "kind": tune.kind,
            "label": tune.kind,
            "metre": tune.metre,
            "title": tune.title,
        }
        text = json.dumps(facts, sort_keys=True).encode()
        parts = {"abc": _abc(tune).encode(), "txt": caption.encode(), "json": text}
        yield "test" if draw < _TEST else "train", Sample(tune.key, parts)


def key_name(key: str) -> str:
    """A key in words.

    >>> key_name("Ador"), key_name("Bb")
    ('A dorian', 'B flat major')
    """
    tonic = re.match(r"[A-G][#b]?", key)
    if tonic is None:
        raise ValueError(f"{key!r} is not a key")
    sign = {"#": " sharp", "b": " flat"}.get(tonic[0][1:], "")
    return f"{tonic[0][0]}{sign} {MODES[key[tonic.end() :]]}"


def _article(kind: str) -> str:
    return "an" if kind[0] in "aeiou" else "a"


def _abc(tune: _Found) -> str:
    head = f"X:1\nT:{tune.title}\nR:{tune.kind}\nM:{tune.metre}\nL:{tune.unit}\nK:{tune.signature}\n"
    return head + abc.body(tune.events, abc.bar_length(tune.unit), tune.metre) + "\n"


def _tunes(wheel: Path) -> Iterator[_Found]:
    """Every tune that can be kept; of two with the same notes the first."""
    seen = set()
    with zipfile.ZipFile(wheel) as package:
        for name in sorted(package.namelist()):
            if not (name.startswith(_FOLDER) and name.endswith(".abc")):
                continue
            tune = _tune(Path(name).stem, package.read(name).decode(errors="replace"))
            if tune is not None and (tune.metre, tune.signature, tune.events) not in seen:
                seen.add((tune.metre, tune.signature, tune.events))
                yield tune


def _tune(key: str, text: str) -> _Found | None:
    """A tune in its normal form, or None when it is one of those that are left out."""
    fields: dict[str, str] = {}
    lines: list[str] = []
    for raw in text.replace("\r", "").split("\n"):
        line = re.sub(r"%.*", "", raw).rstrip()
        if match := re.fullmatch(r"([A-Za-z]):(?![|:])(.*)", line):
            if lines and match[1] in "KLM":
                return None  # changes within the tune
            fields.setdefault(match[1], match[2].strip())
        elif "K" in fields and line.strip():
            lines.append(line)
    metre = _SAME_METRE.get(fields["M"], fields["M"])
    title, _, suffix = fields["T"].partition(" -- ")
    kind = (fields.get("R") or suffix).lower().strip(" .")
    kind = "slip jig" if kind == "jig" and metre == "9/8" else _SAME_KIND.get(kind, kind)
    signature = _signature(fields["K"])
    body = "\n".join(lines)
    if kind not in KINDS or metre not in METRES or signature is None or re.search(r"\[[A-Z]:", body):
        return None
    for pattern, put in _OUT:
        body = re.sub(pattern, put, body, flags=re.MULTILINE)
    unit = "1/16" if metre == "2/4" else "1/8"
    written = fields.get("L") or unit
    try:
        score = abc_parser.parse(f"M:{metre}\nL:{written}\nK:{signature}\n{body}", key)
    except DataError:
        return None
    if any(length != score.bar if inner else length > score.bar for length, inner in score.bars()):
        return None
    events = tuple(_joined(score.events))
    ascii_title = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().strip().rstrip(".")
    return _Found(_key(key), string.capwords(ascii_title), kind, metre, unit, signature, events)


def _joined(events: Iterable[Note | Bar]) -> Iterator[Note | Bar]:
    """Notes with their upper pitch; bar lines that stand together, at the end of a line and the start of the next,
    become one."""
    waiting: Bar | None = None
    for event in events:
        if isinstance(event, Bar):
            waiting = _one_line(waiting, event) if waiting else event
            continue
        if waiting is not None:
            yield Bar("||") if waiting == Bar("|]") else waiting
        waiting = None
        yield _upper(event)
    yield waiting if waiting and waiting.line in (":|", "::") else Bar("|]")


def _one_line(first: Bar, second: Bar) -> Bar:
    ends, starts = first.line.startswith(":"), second.line.endswith(":")
    if ends or starts:
        return Bar({(True, True): "::", (True, False): ":|", (False, True): "|:"}[ends, starts], second.ending)
    return Bar("||" if second.ending == "" else "|", first.ending or second.ending)


def _upper(note: Note) -> Note:
    highest = sorted(note.pitches, key=lambda pitch: pitch.step)[-1:]
    return replace(note, pitches=tuple(highest), tied=False)


def _signature(text: str) -> str | None:
    """A `K:` field in the normal form, such as Ador; None when it says something else as well."""
    match = re.fullmatch(r"([A-G][#b]?)\s*([A-Za-z]*)", text)
    if match is None:
        return None
    mode = "m" if match[2] == "m" else match[2].lower()[:3]
    mode = {"maj": "", "min": "m", "m": "m" if match[2] == "m" else ""}.get(mode, mode)
    return match[1] + mode if mode in MODES else None


def _key(name: str) -> str:
    return "-".join(re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+", name)).lower()


def _concepts(tunes: list[_Found]) -> dict[str, str]:
    """The concept of each key: tunes that share phrases are joined under the first one's key."""
    parent = {tune.key: tune.key for tune in tunes}

    def root(key: str) -> str:
        while parent[key] != key:
            key = parent[key]
        return key

    phrases = {tune.key: tune.phrases() for tune in tunes}
    where: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for key, found in phrases.items():
        common: dict[str, int] = defaultdict(int)
        for phrase in found:
            for other in where[phrase]:
                common[other] += 1
            where[phrase].append(key)
        for other, count in common.items():
            if count >= _SHARED * min(len(found), len(phrases[other])):
                first, second = sorted((root(key), root(other)))
                parent[second] = first
    return {tune.key: root(tune.key) for tune in tunes}
