"""How many pieces a media file is made of, counted before a library walks through them.

Libraries look at chunks, segments and blocks one by one, in Python or again and again: a file of 32 MB may have
millions of them and cost minutes and gigabytes. Honest files have few. Nothing is decoded here.
"""

from __future__ import annotations

from mmgen.errors import DataError

MAX_PIECES = 20_000
"""Chunks of a PNG or a RIFF file, segments and stray bytes of a JPEG: a PNG of 32 MB in pieces of 8 KB has 4,000."""
MAX_SCANS = 200
"""Passes over a JPEG: progressive ones have about ten, each as dear as decoding the whole picture."""
MAX_BLOCKS = 500_000
"""Blocks of a GIF, each of up to 255 bytes."""
MAX_FRAMES = 3600
"""Frames of a video: a minute at 60 a second."""


def check(data: bytes, name: str) -> None:
    """Refuse a PNG, JPEG, GIF or RIFF file (WebP, WAV) of too many pieces; what is none of these passes.

    Raises:
        DataError: more pieces than the limits above.
    """
    if data[:4] == b"\x89PNG":
        _count(_chunks(data, 8), "chunks", name)
    elif data[:4] == b"RIFF":
        _count(_riff_chunks(data, 12), "chunks", name)
    elif data[:2] == b"\xff\xd8":
        pieces, scan = _segments(data)
        _count(pieces, "segments", name)
        if (scans := data.count(b"\xff\xda", scan)) > MAX_SCANS:
            raise DataError(f"{name!r}: {scans} scans; want at most {MAX_SCANS}; save it anew")
    elif data[:3] == b"GIF":
        _blocks(data, name)


def _count(pieces: int, what: str, name: str) -> None:
    if pieces > MAX_PIECES:
        raise DataError(f"{name!r}: more than {MAX_PIECES} {what}; save it anew")


def _chunks(data: bytes, place: int) -> int:
    """Chunks of a PNG from `place` on: length, kind, bytes, checksum."""
    count = 0
    while place + 8 <= len(data) and count <= MAX_PIECES:
        place += 12 + int.from_bytes(data[place : place + 4], "big")
        count += 1
    return count


def _riff_chunks(data: bytes, place: int) -> int:
    """Chunks of a RIFF file from `place` on: kind, length, bytes, and a byte where the length is odd."""
    count = 0
    while place + 8 <= len(data) and count <= MAX_PIECES:
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        place += 8 + size + size % 2
        count += 1
    return count


def _segments(data: bytes) -> tuple[int, int]:
    """Segments and stray bytes before the first scan of a JPEG, and the place of that scan."""
    place, count = 2, 0
    while place + 4 <= len(data) and count <= MAX_PIECES:
        count += 1
        if data[place] != 0xFF or data[place + 1] in (0x00, 0xFF):
            place += 1
        elif data[place + 1] == 0xDA:
            break
        else:
            alone = data[place + 1] == 0x01 or 0xD0 <= data[place + 1] <= 0xD9
            place += 2 if alone else 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return count, place


def _blocks(data: bytes, name: str) -> None:
    """Walk through a GIF: extensions and frames, each with blocks of a byte of length and that many bytes."""
    place = 13 + _table(data, 10)
    blocks = frames = 0
    while place < len(data) and data[place] != 0x3B:
        blocks += 1
        if data[place] == 0x2C:
            frames += 1
            place += 11 + _table(data, place + 9)
        elif data[place] == 0x21:
            place += 2
        else:
            place += 1
            continue
        while place < len(data) and data[place] and blocks <= MAX_BLOCKS:
            place += 1 + data[place]
            blocks += 1
        place += 1
        if frames > MAX_FRAMES or blocks > MAX_BLOCKS:
            what = f"{MAX_FRAMES} frames" if frames > MAX_FRAMES else f"{MAX_BLOCKS} blocks"
            raise DataError(f"{name!r}: more than {what}; cut it")


def _table(data: bytes, place: int) -> int:
    """Bytes of the table of colours that the flags at `place` announce."""
    flags = data[place] if place < len(data) else 0
    return 3 * 2 ** (1 + (flags & 7)) if flags & 0x80 else 0
