"""Hostile files, made in code: valid seeds of every format, seeded mutations of them, and what each reader may answer.

`python -m tests.support.hostile FILE COUNT READER...` gives every reader COUNT mutations, within a limit of memory, and
prints a row of JSON for each; the input that is read at the moment is in FILE. The tests run it as its own process,
so that a C library that crashes is seen as such.
"""

from __future__ import annotations

import io
import json
import os
import random
import resource
import struct
import sys
import tarfile
import tempfile
import time
import unicodedata
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmgen.errors import ConfigError, DataError, MmgenError, StorageError
from tests.support.effort import unit

MEMORY = 6 * 2**30
"""Address space of the process that reads: most of it is what libraries map when they are imported."""
UNITS = 600
"""Most CPU time that any mutation may take, in units of `tests.support.effort`."""


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, depth: int = 8, colour: int = 2, rest: bytes = b"") -> bytes:
    """A PNG by its header; without `rest` it has no pixels."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + rest + chunk(b"IEND", b"")


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of a picture as Pillow writes it."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(width: int = 24, height: int = 16) -> Image.Image:
    """A picture in which no two corners are alike."""
    rows, columns = np.mgrid[0:height, 0:width]
    red, green = columns * 255 // max(1, width - 1), rows * 255 // max(1, height - 1)
    return Image.fromarray(np.stack([red, green, 255 - red], axis=-1).astype(np.uint8))


def moving(kind: str) -> bytes:
    """Three frames."""
    frames = [gradient().rotate(90 * number) for number in range(3)]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=100, loop=0)


def sounding(kind: str) -> bytes:
    """A twentieth of a second of a tone."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, 0.5 * np.sin(np.arange(800) / 6), 16_000, format=kind)
    return buffer.getvalue()


def tar(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar of these members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as file:
        for info, content in members:
            file.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def member(name: str, content: bytes = b"x", kind: bytes = tarfile.REGTYPE, **more: Any) -> tuple[Any, bytes]:
    """A member of a tar."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(content) if kind == tarfile.REGTYPE else 0
    for key, value in more.items():
        setattr(info, key, value)
    return info, content


def webdataset() -> bytes:
    """Two samples with headers of all usual kinds."""
    return tar(
        member("a.png", saved(gradient(), "PNG"), mtime=1.5),
        member("a.txt", b"red heart"),
        member("a.json", b'{"text": "red heart", "label": "x"}'),
        member(f"{'b' * 120}.png", saved(gradient(), "PNG")),
        member(f"{'b' * 120}.txt", b"blue heart"),
    )


def parquet() -> bytes:
    """Three rows in two groups."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {
            "image": {"bytes": saved(gradient(), "PNG"), "path": f"{number}.png"},
            "caption": f"heart {number}",
            "label": "x",
        }
        for number in range(3)
    ]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer, row_group_size=2)
    return buffer.getvalue()


def card() -> bytes:
    """A card of one shard."""
    shard = {"file": "train-00000.tar", "sha256": "0" * 64, "bytes": 10240, "samples": 2}
    credit = {"what": "all", "licence": "CC-BY-4.0", "credit": "us", "url": "https://example.org"}
    value = {
        "schema": 1, "name": "own", "title": "Own", "licences": [credit], "modalities": ["image", "text"],
        "languages": ["en"], "sources": [], "splits": {"train": {"samples": 2, "shards": [shard]}},
    }  # fmt: skip
    return json.dumps(value).encode()


JSONL = b"".join(
    json.dumps({"file_name": f"{n}.png", "text": f"heart {n}", "label": "x", "split": "train"}).encode() + b"\n"
    for n in range(3)
)
CSV = b'file_name,text,label\n0.png,"red, heart",x\n1.png,blue heart,y\n2.png,"a ""b""",z\n'
COCO = json.dumps(
    {
        "images": [{"id": number, "file_name": f"{number}.png"} for number in range(3)],
        "annotations": [{"id": number, "image_id": number, "caption": f"heart {number}"} for number in range(3)],
    }
).encode()
ABC = b"X:1\nT:Test\nM:4/4\nL:1/8\nQ:1/4=90\nK:D\n|:A>Bc [CEG]2 (3ABc d-d|z4 ^f'_g,/2e//:|1 A4:|2 B4|]\n"
GATES = (
    b"default:\n  level: 0.95\n  resamples: 2000\n  seed: 0\n  rounds: 2\n"
    b"  metrics:\n    loss: {direction: lower, floor: 3.5}\n"
    b"gan: &a\n  metrics:\n    recall: {direction: higher, margin: 0.02, gain: 0.01, effect: 0.03}\nemoji: *a\n"
)
PARAMS = b"recipe: emoji\nsettings:\n  training:\n    steps: 3000\n    lr: 1.0e-3\n  data.languages: [en, de]\n"
SEALED = b"some bytes"


def tensors() -> bytes:
    """Three tensors."""
    from safetensors.numpy import save

    kinds = {"a": np.float32, "b": np.int64, "c": np.uint8}
    return save({name: np.arange(6, dtype=kind).reshape(2, 3) for name, kind in kinds.items()})


WORDS = (
    b"\0", b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\xff\xff\xff\xff\xff\xff\xff\x7f", b"-1", b"0", b"1e999",
    b"99999999999999999999", b"NaN", b"null", b"[[[[[[[[", b"{}", b"true", b'"\\ud800"', b"../x", b"/etc/passwd", b"\n",
    b"\r\n", b"\x1b[31m", "\u202e".encode(), "\u2028".encode(), b"\xed\xa0\x80", b"'", b'"', b",", b":", b"*a", b"&a ",
    b"!!python/object/apply:os.system [id]", b"{{$}}", b"=cmd()", b"<|endoftext|>", b"<script>", b"%n%s",
)  # fmt: skip
"""Spliced into seeds: edges of numbers, and what other parsers take for more than text."""


def mutations(seeds: Sequence[bytes], count: int, seed: int) -> Iterator[bytes]:
    """The seeds themselves, then mutations of them: the same ones for the same `seed`."""
    rng = random.Random(seed)
    yield from seeds[:count]
    for number in range(count - len(seeds)):
        whole = rng.choice(seeds)
        if whole[:1] == b"{" and number % 2:
            yield rewritten(whole, rng)
            continue
        data = bytearray(whole)
        for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
            # Headers lie in front, and are where readers differ.
            size = max(1, len(data) if rng.random() < 0.5 else min(len(data), 64))
            at, length = rng.randrange(size), rng.choice((1, 1, 2, 4, 8, 64, 600))
            match rng.randrange(9):
                case 0:
                    data[at : at + 1] = bytes([rng.randrange(256)])
                case 1:
                    data[at : at + 1] = bytes([(data[at] if at < len(data) else 0) ^ 1 << rng.randrange(8)])
                case 2:
                    del data[at : at + length]
                case 3:
                    data[at:at] = rng.randbytes(length)
                case 4:
                    data[at : at + length] = bytes(length)
                case 5:
                    data[at:at] = data[at : at + length] * rng.choice((1, 2, 50))
                case 6:
                    other = rng.choice(seeds)
                    start = rng.randrange(len(other))
                    data[at : at + length] = other[start : start + length]
                case 7:
                    del data[max(1, at) :]
                case _:
                    word = rng.choice(WORDS)
                    data[at : at + rng.choice((0, len(word)))] = word
        yield resealed(bytes(data)) if number % 2 else bytes(data)


ODD = (
    None, True, -1, 0, 2**63, 10**40, 1e308, float("nan"), "", "\ud800", "a\nb", "\x1b[31m", "../../x", "/etc/passwd",
    "x" * 5000, "\u202e", [], [[]], {}, {"a": {"a": [1]}}, [None], "e" + "\u0301\u0316" * 3000, "\0", "1" * 400,
    ["a", 1], {"en": 7},
)  # fmt: skip
"""Values in the place of others in JSON."""


def rewritten(data: bytes, rng: random.Random) -> bytes:
    """JSON, or lines of it, with one value replaced, left out, or there twice."""
    lines = [json.loads(line) for line in data.split(b"\n") if line] if data.count(b"}\n{") else [json.loads(data)]
    node, place = lines, rng.randrange(len(lines))
    for _ in range(rng.choice((1, 2, 3, 4, 5))):
        inner = node[place]
        if not isinstance(inner, dict | list) or not inner:
            break
        node, place = inner, rng.choice(sorted(inner) if isinstance(inner, dict) else range(len(inner)))
    match rng.randrange(5):
        case 0:
            del node[place]
        case 1 if isinstance(node, dict):
            node[rng.choice(("\x1b[31m", "", "bytes", "../x", "x" * 3000, "caption"))] = node.pop(place)
        case _:
            node[place] = rng.choice(ODD)
    return "\n".join(json.dumps(line) for line in lines).encode()


def resealed(data: bytes) -> bytes:
    """The same with the checksums of PNG chunks or tar headers made right, so that a reader gets past them."""
    if data[:4] == b"\x89PNG":
        whole, place = bytearray(data), 8
        while place + 12 <= len(whole):
            end = place + 8 + int.from_bytes(whole[place : place + 4], "big")
            if end + 4 > len(whole):
                break
            whole[end : end + 4] = struct.pack(">I", zlib.crc32(whole[place + 4 : end]))
            place = end + 4
        return bytes(whole)
    if len(data) > 1024 and data[257:262] == b"ustar":
        whole = bytearray(data)
        for place in range(0, len(whole) - 511, 512):
            if whole[place + 257 : place + 262] == b"ustar":
                whole[place + 148 : place + 156] = b" " * 8
                whole[place + 148 : place + 156] = b"%06o\0 " % sum(whole[place : place + 512])
        return bytes(whole)
    return data


def clean(line: str) -> bool:
    """Whether a line can be printed as it is."""
    return line.isprintable()


def check_image(data: bytes, folder: Path) -> None:
    """A picture."""
    from mmgen.modalities import image

    array = image.read(data, "it")
    assert array.dtype == np.uint8
    assert array.ndim == 3
    assert array.shape[2] == 3
    assert 0 < array.shape[0] * array.shape[1] <= image.MAX_PIXELS


def check_sound(data: bytes, folder: Path) -> None:
    """A sound."""
    from mmgen.modalities import sound

    values = sound.read(data, "it")
    assert values.dtype == np.float32
    assert values.ndim == 1
    assert 0 < len(values) <= sound.MAX_SECONDS * sound.RATE + 1
    assert np.isfinite(values).all()
    assert np.abs(values).max() <= 1


def check_video(data: bytes, folder: Path) -> None:
    """A video."""
    from mmgen.modalities import video

    frames = video.read(data, "it")
    assert frames.dtype == np.uint8
    assert frames.ndim == 4
    assert frames.shape[3] == 3
    assert 0 < frames.size <= 3 * video.MAX_VALUES


def check_music(data: bytes, folder: Path) -> None:
    """A tune that can be counted and drawn."""
    from mmgen.modalities import music

    tune = music.read(data, "it")
    assert all(24 <= note.pitch <= 108 and note.length > 0 for note in tune.score.sounding())
    assert len(tune.abc) <= music.MAX_BYTES
    if zlib.crc32(data) % 10 == 0:
        assert music.picture(tune).dtype == np.uint8


def check_text(data: bytes, folder: Path) -> None:
    """A caption in normal form."""
    from mmgen.modalities import text

    found = text.read(data, "it")
    assert 0 < len(found) <= text.MAX_CHARACTERS
    assert found == unicodedata.normalize("NFC", found.strip())
    assert text.bad_character(found) is None
    assert text.read(text.encode(found), "again") == found


def check_shard(data: bytes, folder: Path) -> None:
    """Samples with plain names."""
    from mmgen.data.shards import read_shard

    (folder / "train-00000.tar").write_bytes(data)
    for sample in read_shard(folder / "train-00000.tar"):
        assert all(part.isalnum() for part in sample.parts)
        assert clean(sample.key)
        assert "/" not in sample.key
        assert isinstance(sample.captions(), dict)


def check_layout(layout: str, file: str) -> Callable[[bytes, Path], None]:
    """Entries that can be named, written and printed, and whose media can be looked at."""

    def check(data: bytes, folder: Path) -> None:
        from mmgen.data.imports.columns import Columns
        from mmgen.data.imports.entry import Entry
        from mmgen.data.imports.gather import LAYOUTS, Import, listed
        from mmgen.data.imports.look import look_at
        from mmgen.data.imports.write import keys

        for number in range(3):
            if not (folder / f"{number}.png").exists() and layout in ("folder", "coco"):
                (folder / f"{number}.png").write_bytes(saved(gradient(), "PNG"))
        (folder / file).write_bytes(data)
        assert layout in LAYOUTS
        found = listed(Import(folder=folder, name="own", columns=Columns(), layout=layout))
        assert all(clean(one.name) and clean(one.reason) for one in found.refused)
        assert all(isinstance(one, Entry) for one in found.entries)
        assert len(set(keys(found.entries))) == len(found.entries)
        for look in look_at(found.entries[:3]):
            assert look.problem is not None or look.digests
        said = [(one.name, one.captions, one.split, one.group, one.label) for one in found.entries]
        json.dumps(said, ensure_ascii=False).encode()
        if not found.entries:
            raise DataError("nothing can be imported")

    return check


def check_card(data: bytes, folder: Path) -> None:
    """A card whose texts can be printed and whose files lie in the folder."""
    from mmgen.data.dataset import load

    (folder / "dataset.json").write_bytes(data)
    found = load(folder).card
    assert clean(found.name)
    assert clean(found.title)
    for shards in found.splits.values():
        assert all("/" not in shard.file and shard.bytes > 0 for shard in shards)


def check_tensors(data: bytes, folder: Path) -> None:
    """Named tensors."""
    from mmgen.weights import load_tensors

    (folder / "weights.safetensors").write_bytes(data)
    assert all(value.numel() >= 0 for value in load_tensors(folder / "weights.safetensors").values())


@cache
def small_model() -> tuple[bytes, bytes]:
    """Config and weights of the smallest model of a generator."""
    import torch

    from mmgen.models import save
    from mmgen.models.gan.config import GANConfig
    from mmgen.models.gan.model import GAN

    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        save(GAN(GANConfig(image_px=8, width=2, noise=2), ()), Path(folder))
        return (Path(folder) / "config.json").read_bytes(), (Path(folder) / "weights.safetensors").read_bytes()


def check_model(data: bytes, folder: Path) -> None:
    """A model: mutated configs beside whole weights."""
    from mmgen.models import load

    (folder / "config.json").write_bytes(data)
    (folder / "weights.safetensors").write_bytes(small_model()[1])
    assert load(folder).config is not None


def check_seal(data: bytes, folder: Path) -> None:
    """A seal that holds."""
    from mmgen.files import open_sealed

    (folder / "a.txt").write_bytes(SEALED)
    (folder / "SEAL.json").write_bytes(data)
    assert isinstance(open_sealed(folder), dict)


def seal() -> bytes:
    """A seal that holds."""
    from mmgen.files import seal as write_seal

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a.txt").write_bytes(SEALED)
        write_seal(Path(folder))
        return (Path(folder) / "SEAL.json").read_bytes()


def check_gates(data: bytes, folder: Path) -> None:
    """Rules."""
    from mmgen.ops.gate.rules import read_rules

    (folder / "gates.yaml").write_bytes(data)
    assert read_rules(folder / "gates.yaml", "emoji").metrics


def check_params(data: bytes, folder: Path) -> None:
    """A recipe's name and settings."""
    from pipelines.choices import chosen

    (folder / "params.yaml").write_bytes(data)
    os.chdir(folder)
    name, settings = chosen(None, ())
    assert isinstance(name, str)
    assert all(isinstance(one, str) and "=" in one for one in settings)


def shard() -> bytes:
    """Two samples as we write them."""
    from mmgen.data.shards import Sample, packed

    parts = {"png": saved(gradient(), "PNG"), "txt": b"heart\n", "json": b'{"captions": {"en": "heart"}}'}
    return packed([Sample("a", parts), Sample("b", parts)])


@dataclass(frozen=True)
class Reader:
    """A reader of bytes of others."""

    seeds: Callable[[], list[bytes]]
    check: Callable[[bytes, Path], None]
    """Reads and holds the value against the reader's contract; AssertionError when it is broken."""
    errors: tuple[type[MmgenError], ...] = (DataError,)
    """What its documentation says that it raises."""


READERS = {
    "png": Reader(lambda: [saved(gradient().convert(m), "PNG") for m in ("RGB", "P", "LA", "1", "I;16")], check_image),
    "jpeg": Reader(
        lambda: [saved(gradient(), "JPEG"), saved(gradient().convert("CMYK"), "JPEG", progressive=True)], check_image
    ),
    "webp": Reader(lambda: [saved(gradient(), "WEBP"), saved(gradient(), "WEBP", lossless=True)], check_image),
    "wav": Reader(lambda: [sounding("WAV")], check_sound),
    "flac": Reader(lambda: [sounding("FLAC")], check_sound),
    "ogg": Reader(lambda: [sounding("OGG")], check_sound),
    "animated webp": Reader(lambda: [moving("WEBP")], check_video),
    "gif": Reader(lambda: [moving("GIF")], check_video),
    "animated png": Reader(lambda: [moving("PNG")], check_video),
    "abc": Reader(lambda: [ABC], check_music),
    "text": Reader(lambda: ["Ein rotes Herz é e\u0301 سلام".encode(), b"heart"], check_text),
    "shard": Reader(lambda: [shard()], check_shard),
    "webdataset": Reader(lambda: [webdataset()], check_layout("webdataset", "train-000.tar"), (DataError, ConfigError)),
    "parquet": Reader(lambda: [parquet()], check_layout("parquet", "train-0.parquet"), (DataError, ConfigError)),
    "metadata.jsonl": Reader(lambda: [JSONL], check_layout("folder", "metadata.jsonl"), (DataError, ConfigError)),
    "metadata.csv": Reader(lambda: [CSV], check_layout("folder", "metadata.csv"), (DataError, ConfigError)),
    "coco": Reader(lambda: [COCO], check_layout("coco", "captions.json"), (DataError, ConfigError)),
    "dataset.json": Reader(lambda: [card()], check_card),
    "safetensors": Reader(lambda: [tensors()], check_tensors, (StorageError,)),
    "config.json": Reader(lambda: [small_model()[0]], check_model, (StorageError, ConfigError)),
    "SEAL.json": Reader(lambda: [seal()], check_seal, (StorageError,)),
    "gates.yaml": Reader(lambda: [GATES], check_gates, (ConfigError,)),
    "params.yaml": Reader(lambda: [PARAMS], check_params, (ConfigError,)),
}


def table_row(row: dict[str, Any]) -> str:
    """A row of the table in docs/faults-hostile.md."""
    cells = (
        row["inputs"],
        row["valid"],
        row["refused"],
        f"{row['seconds']:.1f}",
        f"{row['slowest']:.2f}",
        row["peak_mib"],
    )
    return f"| {row['reader']} | " + " | ".join(map(str, cells)) + " |"


def fuzz(name: str, count: int, folder: Path, at: Path) -> dict[str, Any]:
    """Give a reader `count` mutations; what it is reading is in `at`, for whoever finds this process dead."""
    reader = READERS[name]
    found: dict[str, Any] = {"reader": name, "inputs": 0, "valid": 0, "refused": 0, "broken": [], "slowest": 0.0}
    slow, began = unit(), time.process_time()
    for number, data in enumerate(mutations(reader.seeds(), count, seed=zlib.crc32(name.encode()))):
        at.write_bytes(name.encode() + f" {number}\n".encode() + data)
        before = time.process_time()
        try:
            reader.check(data, folder)
            found["valid"] += 1
        except reader.errors as error:
            found["refused"] += 1
            if not clean(str(error)):
                found["broken"].append(f"{number}: a message that is not one line")
        except BaseException as error:
            found["broken"].append(f"{number}: {type(error).__name__}: {error}"[:300])
        found["inputs"] += 1
        found["slowest"] = max(found["slowest"], round(time.process_time() - before, 3))
    found["seconds"] = round(time.process_time() - began, 2)
    found["slowest_units"] = round(found["slowest"] / max(slow, unit()), 1)
    found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return found


def main() -> None:
    """COUNT READER..."""
    import warnings

    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    at = Path(sys.argv[1])
    for name in sys.argv[3:]:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(fuzz(name, int(sys.argv[2]), Path(folder), at)), flush=True)
            os.chdir("/")


if __name__ == "__main__":
    main()
