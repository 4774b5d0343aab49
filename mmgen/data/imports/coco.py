"""Layout `coco`: a JSON with `images` and `annotations` that have captions (Chen et al. 2015, arXiv:1504.00325).

The pictures lie in the folder, in `images/`, or in a folder called as the end of the JSON's name, such as `train2017`.
A name like `captions_train2017.json` says the split.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmgen.data.imports.columns import Columns, split_of
from mmgen.data.imports.entry import Entry, FileSource, Refused
from mmgen.data.imports.folder import below
from mmgen.errors import ConfigError, DataError
from mmgen.untrusted import is_plain, open_plain, read_plain

MAX_BYTES = 2**29
"""Largest JSON: that of COCO 2017 with all captions has 92 MB."""


def find(folder: Path) -> list[Path]:
    """JSON files of `folder`, or of its `annotations/`, that have images and annotations."""
    found = []
    for path in sorted([*folder.glob("*.json"), *folder.glob("annotations/*.json")]):
        if not is_plain(path):
            continue
        with open_plain(path, path.name) as file:
            head = file.read(2**20)
        if b'"images"' in head or b'"annotations"' in head:
            found.append(path)
    return found


def read(folder: Path, asked: Columns) -> Iterator[Entry | Refused]:
    """Every picture of every JSON, with all its captions.

    Raises:
        ConfigError: annotations without captions.
        DataError: a JSON that cannot be read, or pictures that are nowhere.
    """
    if asked.group or asked.label or asked.split or asked.text:
        raise ConfigError("a COCO JSON has no columns to choose; leave out --text, --group, --label and --split")
    for path in find(folder):
        yield from _annotated(path, folder, asked.language)


def _annotated(path: Path, folder: Path, language: str) -> Iterator[Entry | Refused]:
    where = path.relative_to(folder).as_posix()
    try:
        value = json.loads(read_plain(path, MAX_BYTES, where))
        images, annotations = value["images"], value["annotations"]
        captions: dict[Any, list[str]] = defaultdict(list)
        for one in annotations:
            captions[one["image_id"]].append(one["caption"])
        names = [(captions[one["id"]], one["file_name"]) for one in images]
    except KeyError as error:
        keys = ", ".join(sorted(one)) if error.args == ("caption",) else ""
        raise ConfigError(
            f"{where}: no {error} where COCO has it" + (f"; an annotation has: {keys}" if keys else "")
        ) from error
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(f"{where!r} is not a COCO captions JSON ({error})") from error
    base = _pictures(path, folder, names)
    split = split_of(path.name)
    for texts, name in names:
        shown = f"{where}: {name}"[:200]
        try:
            file = below(base, name, folder)
        except DataError as error:
            yield Refused(shown, str(error))
            continue
        said = [text for text in texts if isinstance(text, str)]
        if not said:
            yield Refused(shown, "no caption")
            continue
        yield Entry(
            file.removeprefix(f"{folder}/"),
            {"image": FileSource(file)},
            {language: tuple(said)},
            split,
        )


def _pictures(path: Path, folder: Path, names: list[tuple[Any, Any]]) -> Path:
    """The folder that most of the first few names are in."""
    tail = re.sub(r"^(captions|instances|annotations)_", "", path.stem)
    places = [path.parent, folder, folder / "images", folder / tail, folder / "images" / tail]
    first = [name for _, name in names[:20] if isinstance(name, str)]
    counts = [sum(is_plain(place / name) for name in first) for place in places]
    if not max(counts, default=0):
        looked = ", ".join(repr(place.relative_to(folder).as_posix()) for place in places if place.is_dir())
        raise DataError(f"{path.name}: none of its pictures ({', '.join(first[:3])}, ...) is in {looked}")
    return places[counts.index(max(counts))]
