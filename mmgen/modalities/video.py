"""Video: bytes <-> checked arrays <-> a film strip that a person can look at.

`read` is the only place where video bytes of others are decoded. A video is silent, ten frames a second,
`(T, H, W, 3)` uint8. Files are animated WebP: every browser plays them, and without loss they keep each pixel.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mmgen.errors import ConfigError, DataError, unknown
from mmgen.files import write_bytes
from mmgen.modalities import containers

if TYPE_CHECKING:
    from mmgen.modalities.image import Picture

Video = NDArray[np.uint8]

ENDING = "webp"
FORMATS = ("WEBP", "GIF", "PNG")
"""Animated ones, by content, never by file name."""
RATE = 10
"""Frames a second."""
MAX_BYTES = 64 * 2**20
MAX_SECONDS = 60
MAX_VALUES = 2**26
"""Most pixels of all frames together, before they are decoded: bounds memory."""
MAX_PIXELS = 2**22
"""Most pixels of a frame: decoding and blending one takes a dozen bytes a pixel."""
_FRAME_MS = 1000 // RATE
_STRIP = 10
"""Frames of a film strip."""


def read(data: bytes, name: str) -> Video:
    """Decode an animated WebP, GIF or PNG to RGB, (T, H, W, 3) uint8, ten frames a second.

    Other rates are resampled: each frame is the one that is seen in the middle of its tenth of a second. Transparency
    is laid on white.

    Args:
        data: the bytes of a file.
        name: what to call it in errors.

    Raises:
        DataError: empty, too large or too long, of another format, a single picture, cut short, or altered.
    """
    if not 0 < len(data) <= MAX_BYTES:
        raise DataError(f"{name!r}: {len(data)} bytes of video; want 1 to {MAX_BYTES}")
    containers.check(data, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as file:
                return _frames(file, name)
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(f"{name!r}: not an animated WebP, GIF or PNG; convert it") from error
    except Exception as error:  # Pillow raises OSError, ValueError, SyntaxError, EOFError, struct.error and others
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{name!r}: the video cannot be decoded ({reason}); replace the file") from error


def encode(video: Video) -> bytes:
    """The bytes of an animated WebP without loss that plays for ever; `read` gives the same frames back."""
    frames = [Image.fromarray(frame) for frame in video]
    buffer = io.BytesIO()
    frames[0].save(
        buffer, format="WEBP", save_all=True, append_images=frames[1:], duration=_FRAME_MS, loop=0, lossless=True
    )
    return buffer.getvalue()


def write(video: Video, path: Path) -> None:
    """Write a video whole or not at all.

    Raises:
        ConfigError: an ending other than .webp.
        StorageError: the disk is full or the folder is not writable.
    """
    if path.suffix.lower() != f".{ENDING}":
        raise ConfigError(unknown("video ending", path.suffix, (f".{ENDING}",)))
    write_bytes(path, encode(video))


def picture(video: Video) -> Picture:
    """A film strip: frames spread evenly over the video, side by side, the first and the last among them."""
    from mmgen.modalities.contact_sheet import beside

    places = np.linspace(0, len(video) - 1, min(_STRIP, len(video))).round().astype(int)
    return beside([video[place] for place in places])


def _frames(file: Image.Image, name: str) -> Video:
    count = getattr(file, "n_frames", 1)
    if count < 2:
        raise DataError(f"{name!r}: a single picture; give it as an image")
    if count > containers.MAX_FRAMES:
        raise DataError(f"{name!r}: {count} frames; want at most {containers.MAX_FRAMES}")
    if file.width * file.height > MAX_PIXELS:
        raise DataError(f"{name!r}: {file.width}x{file.height} pixels; want at most {MAX_PIXELS}")
    if file.width * file.height * count > MAX_VALUES:
        raise DataError(
            f"{name!r}: {count} frames of {file.width}x{file.height}; want at most {MAX_VALUES} pixels in all"
        )
    frames, ends = [], []
    shown = 0.0
    for place in range(count):
        file.seek(place)
        file.load()
        shown += float(file.info.get("duration") or _FRAME_MS)
        if shown > 1000 * MAX_SECONDS:
            raise DataError(f"{name!r}: longer than {MAX_SECONDS} seconds; cut it")
        ground = Image.new("RGBA", file.size, (255, 255, 255, 255))
        ground.alpha_composite(file.convert("RGBA"))
        frames.append(np.asarray(ground.convert("RGB")))
        ends.append(shown)
    middles = (np.arange(max(1, round(shown / _FRAME_MS))) + 0.5) * _FRAME_MS
    seen = np.minimum(np.searchsorted(ends, middles, side="right"), count - 1)
    if len(seen) * file.width * file.height > MAX_VALUES:
        raise DataError(f"{name!r}: {len(seen)} frames at {RATE} a second; want at most {MAX_VALUES} pixels in all")
    return np.stack([frames[place] for place in seen])
