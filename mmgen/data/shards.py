"""Samples in tar files, WebDataset layout: members `<key>.<part>`, such as `1f600.png`, `1f600.txt`, `1f600.json`.

Writing is deterministic: keys sorted, no times, no owners, media bytes as they came. Reading trusts nothing: plain
members only, names of a small alphabet, sizes bounded before a byte is read, and nothing is ever unpacked to disk.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import re
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mmgen.errors import DataError
from mmgen.files import write_bytes
from mmgen.untrusted import read_plain

MAX_SHARD_BYTES = 2**30
"""Largest shard; a shard is read into memory whole, so that the bytes that were hashed are the bytes that are used."""
MAX_PART_BYTES = 64 * 2**20
MAX_PARTS = 200_000
MAX_FACTS_BYTES = 2**20
"""Largest json part: parsed, it takes up to thirty times as much memory."""
EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.GNUTYPE_SPARSE,
)
"""Members that say something of the next one, which tarfile reads and obeys on its own."""

_NAME = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_-]{0,79})\.([a-z0-9]{1,8})")
_SPLIT = re.compile(r"[a-z][a-z0-9_]{0,31}")
_END = bytes(2 * tarfile.BLOCKSIZE)


@dataclass(frozen=True)
class Sample:
    """One sample: its parts by extension, as bytes."""

    key: str
    parts: dict[str, bytes]

    def facts(self) -> dict[str, Any]:
        """What `<key>.json` says: captions by language, concept, group and so on.

        Raises:
            DataError: no such part, or not a JSON object.
        """
        try:
            if (size := len(self.parts["json"])) > MAX_FACTS_BYTES:
                raise ValueError(f"{size} bytes; want at most {MAX_FACTS_BYTES}")
            value = json.loads(self.parts["json"].decode())
        except (KeyError, ValueError, RecursionError) as error:
            raise DataError(f"sample {self.key!r}: its json part cannot be read ({error})") from error
        if not isinstance(value, dict):
            raise DataError(f"sample {self.key!r}: its json part is a {type(value).__name__}; want an object")
        return value

    def captions(self) -> dict[str, str]:
        """Captions by language, as the json part has them; none where it has no object of texts.

        Raises:
            DataError: as for `facts`.
        """
        found = self.facts().get("captions")
        known = found if isinstance(found, dict) else {}
        return {code: said for code, said in known.items() if isinstance(said, str)}


@dataclass(frozen=True)
class Shard:
    """One tar file as the card lists it."""

    file: str
    sha256: str
    bytes: int
    samples: int


def write_shards(folder: Path, split: str, samples: Iterable[Sample], per_shard: int) -> list[Shard]:
    """Write samples, sorted by key, as `<split>-NNNNN.tar` with at most `per_shard` samples each.

    Raises:
        DataError: a key twice, a name that a reader would refuse, a part too large, or no samples at all.
        StorageError: the folder cannot be written.
    """
    if not _SPLIT.fullmatch(split):
        raise DataError(f"split {split!r}: use small letters, digits and '_', a letter first")
    ordered = sorted(samples, key=lambda sample: sample.key)
    if not ordered:
        raise DataError(f"split {split!r} has no samples")
    for before, after in itertools.pairwise(ordered):
        if before.key == after.key:
            raise DataError(f"split {split!r}: key {after.key!r} occurs twice")
    shards = []
    for number, first in enumerate(range(0, len(ordered), per_shard)):
        shards.append(pack(folder, f"{split}-{number:05d}.tar", ordered[first : first + per_shard]))
    return shards


def pack(folder: Path, file: str, samples: Sequence[Sample]) -> Shard:
    """Write one shard of samples that are in the order of their keys.

    Raises:
        DataError: a name that a reader would refuse, a part too large.
        StorageError: the folder cannot be written.
    """
    content = packed(samples)
    write_bytes(folder / file, content)
    return Shard(file, hashlib.sha256(content).hexdigest(), len(content), len(samples))


def packed(samples: Sequence[Sample]) -> bytes:
    """The bytes of a shard of samples that are in the order of their keys.

    Raises:
        DataError: a name that a reader would refuse, a part too large.
    """
    pieces = []
    size = 0
    for sample in samples:
        if not sample.parts:
            raise DataError(f"sample {sample.key!r} has no parts")
        for extension in sorted(sample.parts):
            name, value = f"{sample.key}.{extension}", sample.parts[extension]
            if not _NAME.fullmatch(name):
                raise DataError(f"sample {name!r}: want <key>.<part> of letters, digits, '_' and '-'")
            if len(value) > MAX_PART_BYTES:
                raise DataError(f"sample {name!r}: {len(value)} bytes; want at most {MAX_PART_BYTES}")
            padding = bytes(-len(value) % tarfile.BLOCKSIZE)
            pieces += [_header(name, len(value)), value, padding]
            size += tarfile.BLOCKSIZE + len(value) + len(padding)
    pieces.append(_END + bytes(-(size + len(_END)) % tarfile.RECORDSIZE))
    return b"".join(pieces)


def read_shard(path: Path, expected: Shard | None = None) -> list[Sample]:
    """All samples of a shard, in the order of their keys.

    Args:
        path: the tar file.
        expected: what the card says of it; when given, size, sha256 and count must agree.

    Raises:
        DataError: not a plain file, cut short, altered, or a member that is not a plain, well-named, small file.
    """
    content = _read(path)
    if expected is not None and len(content) != expected.bytes:
        raise DataError(f"{str(path)!r}: {len(content)} bytes, the card says {expected.bytes}; build or pull it again")
    if expected is not None and hashlib.sha256(content).hexdigest() != expected.sha256:
        raise DataError(f"{str(path)!r}: sha256 differs from the card's; build or pull it again")
    parts: dict[str, dict[str, bytes]] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:", tarinfo=_Header) as tar:
            for key, extension, value in _members(tar, path):
                if extension in parts.setdefault(key, {}):
                    raise DataError(f"{str(path)!r}: member '{key}.{extension}' occurs twice")
                parts[key][extension] = value
    except DataError:
        raise
    except Exception as error:  # tarfile raises IndexError and others on what is damaged
        raise DataError(f"{str(path)!r}: not a whole tar file ({error}); build or pull it again") from error
    if not content.endswith(_END):
        raise DataError(f"{str(path)!r}: the tar file has no end mark, it was cut short; build or pull it again")
    if expected is not None and len(parts) != expected.samples:
        raise DataError(f"{str(path)!r}: {len(parts)} samples, the card says {expected.samples}; mend the card")
    return [Sample(key, parts[key]) for key in sorted(parts)]


def _read(path: Path) -> bytes:
    if not os.path.lexists(path):
        raise DataError(f"{str(path)!r} is missing; build or pull the data set again")
    content = read_plain(path, MAX_SHARD_BYTES, str(path))
    if not content:
        raise DataError(f"{str(path)!r}: 0 bytes; build or pull the data set again")
    return content


class _Header(tarfile.TarInfo):
    """A tar header; shards have no extended ones, and tarfile never gets to read one."""

    def _proc_member(self, tar: Any) -> Any:
        if self.type in EXTENDED:
            raise tarfile.ReadError(f"member {self.name[:100]!r} is an extended header, which shards do not have")
        return super()._proc_member(tar)  # type: ignore[misc]


def _members(tar: tarfile.TarFile, path: Path) -> Iterable[tuple[str, str, bytes]]:
    last = -1
    for count, member in enumerate(tar):
        where = f"{str(path)!r}: member {member.name[:100]!r}"
        if count >= MAX_PARTS:
            raise DataError(f"{str(path)!r}: more than {MAX_PARTS} members; cut it into smaller shards")
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
            raise DataError(f"{where} is not a plain file (link, device, folder or sparse file)")
        match = _NAME.fullmatch(member.name)
        if match is None:
            raise DataError(f"{where}: want <key>.<part> of letters, digits, '_' and '-', without folders")
        if not 0 <= member.size <= MAX_PART_BYTES:
            raise DataError(f"{where}: {member.size} bytes; want at most {MAX_PART_BYTES}")
        if member.offset_data <= last:  # a crafted header may send the reader back for ever
            raise DataError(f"{where} lies before the one that it follows")
        last = member.offset_data
        file = tar.extractfile(member)
        value = b"" if file is None else file.read(member.size)
        if len(value) != member.size:
            raise DataError(f"{where}: cut short, {len(value)} of {member.size} bytes")
        yield match[1], match[2], value


def _header(name: str, size: int) -> bytes:
    """The ustar header of a plain file (POSIX.1-1988): what tarfile makes of a `TarInfo`, at a tenth of its time.

    The fields that differ are name (at 0), size (124) and the sum of all bytes (148).
    """
    plain, total = _plain_header()
    named, digits = name.encode("ascii"), b"%011o" % size
    checksum = b"%06o" % (total + sum(named) + sum(digits))
    return b"".join([named.ljust(100, b"\0"), plain[100:124], digits, plain[135:148], checksum, plain[154:]])


@cache
def _plain_header() -> tuple[bytes, int]:
    """A header without name and size, and the sum of its bytes; time 0, owner 0 and mode 0644, as `TarInfo` starts."""
    header = tarfile.TarInfo().tobuf(tarfile.USTAR_FORMAT)
    return header, sum(header[:124] + header[135:148] + header[156:]) + 8 * ord(" ")  # the sum counts as blanks
