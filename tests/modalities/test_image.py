"""Pictures: odd but legal files come out right, everything else is refused by name."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFont

from mmgen.errors import ConfigError, DataError
from mmgen.modalities import contact_sheet, image


def encode(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


RED = Image.new("RGB", (6, 4), (200, 10, 20))
JPEG = encode(Image.radial_gradient("L").resize((40, 30)).convert("RGB"), "JPEG")
WEBP = encode(Image.radial_gradient("L").resize((40, 30)).convert("RGB"), "WEBP")
PNG = encode(Image.radial_gradient("L").resize((40, 30)))


def test_transparency_is_laid_on_white_in_every_mode() -> None:
    clear = Image.new("RGBA", (3, 2), (0, 0, 0, 0))
    half = Image.new("RGBA", (3, 2), (255, 0, 0, 128))
    palette = Image.new("P", (3, 2), 0)
    palette.putpalette([0, 0, 0])

    assert np.unique(image.read(encode(clear), "x")).tolist() == [255]
    assert image.read(encode(half), "x")[0, 0].tolist() == [255, 127, 127]
    assert np.unique(image.read(encode(palette, transparency=0), "x")).tolist() == [255]
    assert np.unique(image.read(encode(Image.new("LA", (3, 2), (0, 0))), "x")).tolist() == [255]
    assert np.unique(image.read(encode(Image.new("L", (3, 2), 9), transparency=9), "x")).tolist() == [255]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_plain_modes_become_rgb(mode: str) -> None:
    array = image.read(encode(Image.new("RGB", (6, 4), "white").convert(mode)), "x")

    assert array.dtype == np.uint8
    assert array.shape == (4, 6, 3)
    assert np.unique(array).tolist() == [255]


def test_sixteen_bit_grey_is_scaled_not_cut() -> None:
    grey = Image.fromarray(np.array([[0, 257 * 100, 65535]], dtype=np.uint16))

    assert image.read(encode(grey), "x")[0, :, 0].tolist() == [0, 100, 255]


def test_cmyk_is_converted() -> None:
    assert image.read(encode(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "JPEG"), "x").min() > 250


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(orientation: int) -> None:
    corner = Image.new("L", (16, 8), 0)
    corner.paste(255, (0, 0, 4, 4))
    exif = Image.Exif()
    exif[0x0112] = orientation

    array = image.read(encode(corner, "PNG", exif=exif), "x")

    places = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}
    assert array.shape == ((8, 16, 3) if orientation < 5 else (16, 8, 3))
    assert array[places[orientation]].tolist() == [255, 255, 255]


def test_the_content_decides_not_the_name() -> None:
    assert image.header(JPEG, "heart.png") == image.Header("JPEG", "RGB", 40, 30)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


START = b"\x89PNG\r\n\x1a\n"
REFUSED = {
    "empty": b"",
    "text": b"not a picture at all",
    "a web page": b"<!doctype html><html></html>",
    "a GIF": encode(RED, "GIF"),
    "a TIFF": encode(RED, "TIFF"),
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "a PNG cut short": PNG[: len(PNG) // 2],
    "a JPEG cut short": JPEG[: len(JPEG) // 2],
    "a WebP cut short": WEBP[: len(WEBP) // 2],
    "an animated PNG": encode(RED, save_all=True, append_images=[Image.new("RGB", (6, 4), "blue")]),
    "an animated WebP": encode(RED, "WEBP", save_all=True, append_images=[Image.new("RGB", (6, 4), "blue")]),
    "900 megapixels": START + chunk(b"IHDR", struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)),
    "95 megapixels": START + chunk(b"IHDR", struct.pack(">IIBBBBB", 10000, 9500, 8, 2, 0, 0, 0)),
    "17 megapixels": START + chunk(b"IHDR", struct.pack(">IIBBBBB", 4200, 4200, 8, 2, 0, 0, 0)),
    "70 MB of compressed text": PNG[:33] + chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(70_000_000))) + PNG[33:],
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_picture_is_refused_by_name(name: str) -> None:
    with pytest.raises(DataError, match=r"'heart\.png': ") as caught:
        image.read(REFUSED[name], "heart.png")

    assert str(caught.value).isprintable()


@settings(max_examples=120, deadline=None, derandomize=True, database=None)
@given(st.sampled_from([PNG, JPEG, WEBP]), st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=6))
def test_flipped_bytes_give_a_picture_or_a_refusal(data: bytes, flips: list[tuple[int, int]]) -> None:
    content = bytearray(data)
    for place, value in flips:
        content[place % len(content)] = value
    try:
        array = image.read(bytes(content), "x")
    except DataError:
        return
    assert array.dtype == np.uint8
    assert array.ndim == 3
    assert array.shape[2] == 3


def test_metadata_are_dropped() -> None:
    exif = Image.Exif()
    exif[0x010E] = "secret place"

    data = image.encode(image.read(encode(RED, "JPEG", exif=exif), "x"), "JPEG")

    assert b"secret" not in data


def test_resizing_keeps_the_shape_of_things() -> None:
    wide = np.zeros((10, 40, 3), np.uint8)

    square = image.resize(wide, 20)

    assert square.shape == (20, 20, 3)
    assert square[0].min() == 255  # white above and below, nothing stretched
    assert square[10].max() == 0
    assert image.resize(square, 20) is square


def test_tensors_hold_every_value_exactly() -> None:
    arrays = [np.arange(192, dtype=np.uint8).reshape(8, 8, 3), np.full((8, 8, 3), 255, np.uint8)]

    x_B3HW = image.to_tensor(arrays)

    assert tuple(x_B3HW.shape) == (2, 3, 8, 8)
    assert (float(x_B3HW.min()), float(x_B3HW.max())) == (-1, 1)
    assert all((a == b).all() for a, b in zip(image.from_tensor(x_B3HW), arrays, strict=True))
    assert image.from_tensor(x_B3HW * 9)[1].max() == 255


def test_the_name_picks_the_format(tmp_path: Path) -> None:
    array = np.asarray(RED)
    for name, kind in (("a.png", "PNG"), ("a.jpg", "JPEG"), ("a.WEBP", "WEBP")):
        image.write(array, tmp_path / name)
        assert image.header((tmp_path / name).read_bytes(), name).format == kind
    with pytest.raises(ConfigError, match=r"unknown picture ending '\.gif'"):
        image.write(array, tmp_path / "a.gif")


def test_a_contact_sheet_has_a_tile_for_each_picture() -> None:
    red = np.asarray(RED)

    one_row = contact_sheet.show([red] * 3, ["red"] * 3)
    two_rows = contact_sheet.show(
        [red] * 5, [""] * 4 + ["a caption that is far too long for two lines of a tile " * 3], columns=4
    )

    assert one_row.shape[1] < two_rows.shape[1]
    assert one_row.shape[0] * 2 > two_rows.shape[0] > one_row.shape[0]
    assert two_rows[0].min() == 255
    with pytest.raises(ValueError, match="3 pictures and 2 captions"):
        contact_sheet.show([red] * 3, ["a", "b"])


def test_captions_wrap_to_three_lines_within_their_width() -> None:
    font = ImageFont.load_default(size=12)

    for text in ("red heart", "woman in manual wheelchair facing right, medium-light skin tone", "m" * 200, ""):
        lines = contact_sheet.wrap(text, 140, font)
        assert len(lines) <= 3
        assert all(font.getlength(line) <= 140 for line in lines)
    assert contact_sheet.wrap("m" * 200, 140, font)[-1].endswith("…")
    assert contact_sheet.wrap("red heart", 140, font) == ["red heart"]


@pytest.mark.parametrize("letters", ["äöüß", "éèñçãőž", "жшё", "αλω", "عربي"])
def test_the_font_has_the_letters_of_captions(letters: str) -> None:
    from mmgen.modalities.lettering import font

    missing = bytes(font(24).getmask("\U000f0000"))
    assert all(bytes(font(24).getmask(letter)) != missing for letter in letters)


def jpegs() -> list[bytes]:
    """JPEGs of every kind that Pillow writes, of even and odd sizes."""
    rng = np.random.default_rng(0)
    found = []
    for number, side in enumerate([(256, 256), (128, 384), (512, 256), (801, 397), (256, 768), (90, 40)]):
        picture = Image.fromarray(rng.integers(0, 256, (5, 7, 3), np.uint8)).resize(side, Image.Resampling.BICUBIC)
        options: dict[str, Any] = {"quality": 80, "progressive": number % 2 == 1, "subsampling": number % 3}
        found += [encode(picture.convert(mode), "JPEG", **options) for mode in ("RGB", "L", "CMYK")]
        found.append(encode(picture, "JPEG", **options, restart_marker_blocks=5))
    return found


def test_a_glance_finds_all_faults_that_reading_finds_and_no_others() -> None:
    rng = np.random.default_rng(1)
    refused = 0
    for whole in jpegs():
        for _ in range(25):
            data = bytearray(whole)
            at, length = (int(number) for number in rng.integers(1, [len(data), 300]))
            match rng.integers(3):
                case 0:
                    del data[at:]
                case 1:
                    data[at : at + length] = rng.bytes(length)
                case _:
                    del data[at : at + length]
            said = []
            for look in (lambda data: image.read(data, "it"), lambda data: image.glance(data, "it", 16)):
                try:
                    look(bytes(data))
                    said.append("")
                except DataError as error:
                    said.append(str(error))
            assert said[0] == said[1]
            refused += bool(said[0])
    assert refused > 150


@pytest.mark.parametrize("number", range(24))
def test_a_glance_has_the_means_of_the_whole_picture(number: int) -> None:
    data = jpegs()[number]
    header, small = image.glance(data, "it", 16)

    whole = Image.fromarray(image.read(data, "it"))
    assert (header.width, header.height) == whole.size
    means = np.asarray(image.shrink(whole, 16)).astype(np.float64)
    assert np.sqrt(np.square(means - small).mean()) < 1.5


def test_a_glance_is_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 8, 3), np.uint8)).resize((256, 512))
    for kind in ("JPEG", "PNG", "WEBP"):
        data = encode(picture, kind, exif=exif)
        small = image.glance(data, "it", 16)[1].astype(int)
        assert np.abs(small - np.asarray(image.shrink(Image.fromarray(image.read(data, "it")), 16))).max() < 8
