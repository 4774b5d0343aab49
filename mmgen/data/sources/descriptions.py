"""The `descriptions` data set: descriptions of functions and classes in five libraries, each with its synopsis.

By Python's rule for docstrings (PEP 257) the first line sums up what the rest explains; here the rest is the text and
the first line its summary, as one half of Debian's package descriptions is the synopsis of the other. Sources are read
as text from packages and parsed, never imported.

Kept are synopses of 3 to 20 words and the paragraphs of prose after them, up to the first section, list or example, cut
at the end of a sentence below 450 characters. Functions of one file resemble each other, so splits are by file: 80 %
train, 10 % valid, 10 % test. A synopsis that several files share stands in the split of the first one only.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

from mmgen.data.shards import Sample
from mmgen.errors import DataError
from mmgen.modalities import text

TITLE = "Descriptions of functions with their synopses"
PACKAGES = ("dask", "networkx", "nltk", "sympy", "xarray")
LICENCES = (
    {
        "what": "docstrings of dask, networkx and sympy",
        "licence": "BSD-3-Clause",
        "credit": "Anaconda, Inc. and contributors; NetworkX developers; SymPy development team",
        "url": "https://opensource.org/license/bsd-3-clause",
    },
    {
        "what": "docstrings of nltk and xarray",
        "licence": "Apache-2.0",
        "credit": "NLTK project; xarray developers",
        "url": "https://www.apache.org/licenses/LICENSE-2.0",
    },
)
MODALITIES = ("text",)
LANGUAGES = ("en",)
SPLITS = ("train", "valid", "test")

_SHARES = (("train", 0.8), ("valid", 0.9), ("test", 1.0))
_WORDS, _CHARACTERS = range(3, 21), range(60, 451)
_ENOUGH = 1000
_SECTION = re.compile(r"(Parameters|Returns|Args|Arguments|Examples?|Explanation|References|See Also|Notes?|Raises)\b")
_MARKUP = re.compile(r":[a-zA-Z:]+:`~?([^`]*)`|``?([^`]*)``?")


def samples(files: dict[str, Path]) -> Iterator[tuple[str, Sample]]:
    """Yield (split, sample), package by package, file by file.

    Args:
        files: the wheel of each of `PACKAGES`, already checked by hash.

    Raises:
        DataError: a package has hardly any docstrings: it is not the one that this code was written for.
    """
    seen: set[str] = set()
    for package in PACKAGES:
        count = 0
        with zipfile.ZipFile(files[package]) as wheel:
            for path in sorted(wheel.namelist()):
                if not path.endswith(".py") or "test" in path:
                    continue
                place = int(hashlib.sha256(f"descriptions:{path}".encode()).hexdigest()[:8], 16) / 16**8
                split = next(name for name, share in _SHARES if place < share)
                for number, (name, synopsis, body) in enumerate(described(wheel.read(path).decode())):
                    if synopsis.lower() in seen:
                        continue
                    seen.add(synopsis.lower())
                    count += 1
                    key = re.sub(r"[^a-z0-9]+", "-", f"{path.removesuffix('.py')}-{number}".lower()).strip("-")
                    yield split, _sample(key, package, path, name, synopsis, body)
        if count < _ENOUGH / len(PACKAGES):
            raise DataError(f"{files[package].name!r} has {count} docstrings; delete the file, it is fetched again")


def described(source: str) -> Iterator[tuple[str, str, str]]:
    """(name, synopsis, description) of everything in a file that has both."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on odd escapes in their strings
        tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
            paragraphs = re.split(r"\n\s*\n", (ast.get_docstring(node) or "").strip())
            synopsis, body = plain(paragraphs[0]), _prose(paragraphs[1:])
            if (
                len(synopsis.split()) in _WORDS
                and len(body) in _CHARACTERS
                and text.bad_character(synopsis + body) is None
            ):
                yield getattr(node, "name", "module"), synopsis, body


def plain(paragraph: str) -> str:
    """A paragraph in one line without marks of reStructuredText or a full stop at the end.

    >>> plain("Return a :class:`~sympy.Matrix` of\\n``n`` rows.")
    'Return a sympy.Matrix of n rows'
    """
    return _MARKUP.sub(lambda found: found[1] or found[2] or "", " ".join(paragraph.split())).rstrip(". ")


def _prose(paragraphs: list[str]) -> str:
    """Paragraphs up to the first that is none, cut at the end of a sentence."""
    kept: list[str] = []
    for paragraph in paragraphs:
        begins = paragraph.lstrip()
        if re.search(r"\n\s*[-=~^*]{3,}", paragraph) or begins.startswith((">>>", ":", "..", "#", "*", "-", "+", "@")):
            break
        if ">>>" in paragraph or _SECTION.match(begins):
            break
        kept.append(plain(paragraph) + ".")
    whole = " ".join(kept)
    if len(whole) <= _CHARACTERS[-1]:
        return whole
    cut = whole.rfind(". ", 0, _CHARACTERS[-1])
    return whole[: cut + 1]


def _sample(key: str, package: str, path: str, name: str, synopsis: str, body: str) -> Sample:
    facts = {"body": body, "captions": {"en": synopsis}, "concept": f"{path}:{name}", "group": package}
    return Sample(key, {"txt": synopsis.encode(), "json": json.dumps(facts, sort_keys=True).encode()})
