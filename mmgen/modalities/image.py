"""Pictures: bytes <-> checked arrays <-> tensors <-> a sheet that a person can look at.

`read` is the only place where picture bytes of others are decoded. An array is upright RGB, `(H, W, 3)` uint8.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from mmgen.errors import ConfigError, DataError, unknown
from mmgen.files import write_bytes
from mmgen.modalities import containers

if TYPE_CHECKING:
    from torch import Tensor

Picture = NDArray[np.uint8]

ENDING = "png"
ENDINGS = (ENDING, "jpg", "webp")
"""Parts that a data set may have."""
FORMATS = ("PNG", "JPEG", "WEBP")
"""By content, never by file name."""
EXTENSIONS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
MAX_BYTES = 32 * 2**20
MAX_PIXELS = 16 * 2**20
WHITE = (255, 255, 255)
_FINE = 12
"""Pixels across one of `glance` that keep its mean right where they are cut: off by 1.2 of 255 at most."""


@dataclass(frozen=True)
class Header:
    """What a picture file says of itself before it is decoded."""

    format: str
    mode: str
    """Pillow's mode: `P` is a palette, `L` grey, `RGBA` colour with transparency, and so on."""
    width: int
    height: int


def header(data: bytes, name: str) -> Header:
    """Format, mode and size of a picture; `name` stands in the error.

    Raises:
        DataError: not a picture of `FORMATS`, too large, or animated.
    """
    with _opened(data, name) as picture:
        return Header("JPEG" if picture.format == "MPO" else str(picture.format), picture.mode, *picture.size)


def read(data: bytes, name: str) -> Picture:
    """Decode to upright RGB, `(H, W, 3)` uint8.

    EXIF rotation is applied and all metadata dropped. Transparency is laid on white, 16-bit grey is scaled, CMYK is
    converted. Animated files are refused rather than silently cut to their first frame; of the several pictures in
    a phone's MPO file the first is the picture.

    Args:
        data: the bytes of a file.
        name: what to call it in errors.

    Raises:
        DataError: empty or too large, not one of `FORMATS`, cut short, altered, or animated.
    """
    with _opened(data, name) as picture:
        picture.load()  # opening alone does not notice a file that was cut short
        return _rgb(ImageOps.exif_transpose(picture))


def glance(data: bytes, name: str, side: int) -> tuple[Header, Picture]:
    """Decode a whole picture, but keep what it says of itself and a small copy only: much cheaper than `read`.

    Of a JPEG every code is read, so that whatever `read` finds amiss is found here; but waves that the small copy
    cannot show are not turned into pixels (libjpeg's scaled decoding).

    Args:
        data: the bytes of a file.
        name: what to call it in errors.
        side: of the small copy in pixels.

    Returns:
        The header, and the picture squeezed to (side, side, 3) uint8.

    Raises:
        DataError: as for `read`.
    """
    with _opened(data, name) as picture:
        about = Header("JPEG" if picture.format == "MPO" else str(picture.format), picture.mode, *picture.size)
        box = None
        if isinstance(picture, JpegImageFile) and (factor := _factor(picture, side)) > 1:
            drafted = picture.draft(None, (picture.width // factor, picture.height // factor))
            box = drafted and drafted[1]  # of a last row or column that the factor cuts, the share that is there
        picture.load()
        small = shrink(picture if picture.mode == "RGB" else Image.fromarray(_rgb(picture)), side, box)
        small.info = picture.info  # says which way is up
        return about, np.asarray(ImageOps.exif_transpose(small))


def shrink(picture: Image.Image, side: int, box: tuple[float, float, float, float] | None = None) -> Image.Image:
    """An RGB picture, or the `box` of it, squeezed to `side` x `side`, each pixel the mean of what it stands for."""
    return picture.resize((side, side), Image.Resampling.BOX, box)


def _factor(picture: JpegImageFile, side: int) -> int:
    """How much smaller a JPEG may be decoded when `side` x `side` means are all that is wanted.

    The mean of a whole block of codes is exact at any scale; means that cut blocks want small pixels, or they are off
    by more than by rounding. Colours may have blocks that are larger than 8 x 8 pixels.
    """
    block = 8 * max(number for _, across, down, _ in picture.layer for number in (across, down))
    if picture.width % (block * side) == picture.height % (block * side) == 0:
        return 8
    return next((factor for factor in (8, 4, 2) if min(picture.size) >= factor * side * _FINE), 1)


def resize(array: Picture, size: int) -> Picture:
    """The picture as `size` x `size`, by Lanczos; one that is not square is centred on white, not stretched."""
    if array.shape[:2] == (size, size):
        return array
    picture = ImageOps.pad(Image.fromarray(array), (size, size), Image.Resampling.LANCZOS, color=WHITE)
    return np.asarray(picture)


def to_tensor(arrays: Sequence[Picture]) -> Tensor:
    """Stack pictures of one size to a float tensor `(B, 3, H, W)` in [-1, 1]."""
    import torch

    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float().div(127.5).sub(1).contiguous()


def from_tensor(x_B3HW: Tensor) -> list[Picture]:
    """The inverse of `to_tensor`; values outside [-1, 1] are clamped."""
    import torch

    pixels = x_B3HW.detach().float().cpu().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    return list(pixels.permute(0, 2, 3, 1).contiguous().numpy())


def encode(array: Picture, format: str = "PNG") -> bytes:  # noqa: A002 - Pillow's word for it
    """The bytes of a picture file without metadata."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format=format)
    return buffer.getvalue()


def write(array: Picture, path: Path) -> None:
    """Write a picture whole or not at all; the name's ending picks the format.

    Raises:
        ConfigError: an ending that is not one of `EXTENSIONS`.
        StorageError: the disk is full or the folder is not writable.
    """
    if path.suffix.lower() not in EXTENSIONS:
        raise ConfigError(unknown("picture ending", path.suffix, EXTENSIONS))
    write_bytes(path, encode(array, EXTENSIONS[path.suffix.lower()]))


def picture(array: Picture) -> Picture:
    """What a person looks at: the picture itself."""
    return array


@contextmanager
def _opened(data: bytes, name: str) -> Iterator[Image.Image]:
    """A picture whose limits were checked; whatever Pillow raises inside becomes a DataError that names it."""
    if not 0 < len(data) <= MAX_BYTES:
        raise DataError(f"{name!r}: {len(data)} bytes; want 1 to {MAX_BYTES}")
    containers.check(data, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on odd but legal files are not for the user's terminal
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise DataError(f"{name!r}: {picture.width}x{picture.height} pixels; want at most {MAX_PIXELS}")
                frames = getattr(picture, "n_frames", 1)
                if frames > 1 and picture.format != "MPO":
                    raise DataError(f"{name!r}: animated ({frames} frames); give one frame as PNG, JPEG or WebP")
                yield picture
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(f"{name!r}: not a PNG, JPEG or WebP picture; convert it") from error
    except Exception as error:  # Pillow raises OSError, ValueError, SyntaxError, struct.error and others
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{name!r}: the picture cannot be decoded ({reason}); replace the file") from error


def _rgb(picture: Image.Image) -> Picture:
    if picture.mode.startswith("I"):  # 16-bit grey; Pillow would cut it off at 255
        grey = np.asarray(picture).astype(np.float64) / 257
        return np.repeat(grey.round().clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
    if picture.has_transparency_data:
        ground = Image.new("RGBA", picture.size, (*WHITE, 255))
        ground.alpha_composite(picture.convert("RGBA"))
        picture = ground
    return np.asarray(picture.convert("RGB"))
