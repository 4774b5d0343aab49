"""Data of somebody's own: layouts, bad and odd files, splits without leaks; pictures are those of `emoji`."""

from __future__ import annotations

import csv
import io
import json
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmgen.data.changes.near_duplicates import pairs
from mmgen.data.corpus import load_corpus
from mmgen.data.dataset import data_version, load
from mmgen.data.imports.adding import add_data
from mmgen.data.imports.columns import Columns
from mmgen.data.imports.gather import Import
from mmgen.data.imports.importer import Imported, import_data
from mmgen.data.limits import NEAR
from mmgen.data.worker_pool import Crew
from mmgen.errors import ConfigError, DataError
from mmgen.modalities import sound
from mmgen.modalities.image import Picture, encode, resize
from mmgen.ops.validation.checks import validate
from mmgen.progress import Progress
from mmgen.recipes import get
from mmgen.training.train import train

Pair = tuple[str, Picture]


@pytest.fixture(scope="module")
def owned(tiny_emoji: Path) -> list[Pair]:
    """Captions and pictures of 160 things."""
    found: dict[str, Picture] = {}
    for split in ("train", "concepts", "judge"):
        corpus = load_corpus(tiny_emoji, split)
        found |= dict(zip(corpus.captions("en"), corpus.images(48), strict=True))
    assert len(found) >= 160
    return list(found.items())[:160]


def import_(folder: Path, root: Path, **rest: Any) -> Imported:
    columns = rest.pop("columns", Columns())
    return import_data(Import(folder=folder, name="own", columns=columns, **rest), root, Progress(), 2)


def everything(folder: Path) -> dict[str, str]:
    """Caption by original name, of all splits."""
    corpora = [load_corpus(folder, split) for split in load(folder).card.splits]
    return {
        facts["name"]: caption
        for corpus in corpora
        for facts, caption in zip(corpus.facts, corpus.captions("en"), strict=True)
    }


def write_folder(folder: Path, owned: Sequence[Pair], **columns: Sequence[str]) -> Path:
    folder.mkdir(parents=True)
    with (folder / "metadata.jsonl").open("w") as file:
        for number, (caption, picture) in enumerate(owned):
            (folder / f"{number:03d}.png").write_bytes(encode(picture))
            row = {"file_name": f"{number:03d}.png", "text": caption}
            file.write(json.dumps(row | {name: values[number] for name, values in columns.items()}) + "\n")
    return folder


def odd(owned: Sequence[Pair], folder: Path) -> list[tuple[str, str]]:
    """Files that are unusual and legal: (name, caption)."""
    pictures = [Image.fromarray(picture) for _, picture in owned]
    turned = Image.Exif()
    turned[0x0112] = 6
    palette = pictures[2].convert("P", palette=Image.Palette.ADAPTIVE)
    saves: list[tuple[str, Image.Image, dict[str, Any]]] = [
        ("UPPER.PNG", pictures[0], {"format": "PNG"}),
        ("größe und Leerzeichen.png", pictures[1], {}),
        ("palette.png", palette, {}),
        ("cmyk.jpg", pictures[3].convert("CMYK"), {}),
        ("turned.jpeg", pictures[4], {"exif": turned}),
        ("grey16.png", Image.fromarray(np.asarray(pictures[5].convert("L")).astype(np.uint16) * 257), {}),
        ("clear.png", pictures[6].convert("RGBA"), {}),
        ("no_ending", pictures[7], {"format": "PNG"}),
        ("deep/er/one.webp", pictures[8], {"lossless": True}),
        ("really-a-png.jpg", pictures[9], {"format": "PNG"}),
    ]
    for name, picture, how in saves:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture.save(folder / name, **how)
    captions = [caption for caption, _ in owned]
    captions[0] = f"  {captions[0].replace(' ', chr(9))}\n"  # blanks of all kinds become one space
    return [(name, caption) for (name, _, _), caption in zip(saves, captions, strict=True)]


def bad(folder: Path) -> list[tuple[Any, str, str]]:
    """Files and rows that cannot be used: (name, caption, words of the reason)."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (48, 48, 3), np.uint8)
    whole = encode(noise)
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "words.png").write_text("not a picture")
    (folder / "empty.png").write_bytes(b"")
    (folder / "flat.png").write_bytes(encode(np.full((32, 32, 3), 200, np.uint8)))
    (folder / "small.png").write_bytes(encode(noise[:4, :4]))
    Image.fromarray(noise).save(
        folder / "moving.webp", save_all=True, append_images=[Image.fromarray(255 - noise)], duration=100
    )
    bomb = io.BytesIO()
    Image.new("1", (40_000, 40_000)).save(bomb, "PNG")
    (folder / "bomb.png").write_bytes(bomb.getvalue())
    (folder / "fine.png").write_bytes(whole)
    (folder / "link.png").symlink_to("/etc/passwd")
    (folder / "pipe.png").unlink(missing_ok=True)
    os.mkfifo(folder / "pipe.png")
    return [
        ("cut.png", "cut", "cannot be decoded"),
        ("words.png", "words", "not a PNG, JPEG or WebP picture"),
        ("empty.png", "empty", "0 bytes"),
        ("flat.png", "flat", "one flat colour"),
        ("small.png", "small", "4 x 4 pixels; want 8 to 4096"),
        ("moving.webp", "moving", "animated"),
        ("bomb.png", "bomb", "want at most"),
        ("missing.png", "missing", "no such file"),
        ("../fine.png", "outside", "leaves the folder"),
        ("/etc/hostname", "absolute", "leaves the folder"),
        ("link.png", "a link", "not a plain file"),
        ("pipe.png", "a pipe", "not a plain file"),
        ("fine.png", "a \x07 bell", "control character U+0007"),
        ("fine.png", "", "the text is empty"),
        ("fine.png", "a" * 401, "want at most"),
        ("fine.png", 7, "where text is wanted"),
        (7, "a number", "the file's name is no text"),
        ("notes.doc", "notes", "no such file"),
    ]


def test_two_hundred_good_odd_and_bad_files(tmp_path: Path, owned: list[Pair]) -> None:
    folder = write_folder(tmp_path / "mixed", owned[10:])
    odd_ones, bad_ones = odd(owned[:10], folder), bad(folder)
    with (folder / "metadata.jsonl").open("a") as file:
        for name, caption in [*odd_ones, *((name, caption) for name, caption, _ in bad_ones)]:
            file.write(json.dumps({"file_name": name, "text": caption}) + "\n")
        file.write("{not json}\n")
        file.write("[1, 2]\n")

    done = import_(folder, tmp_path / "data", budget=0.2)

    assert sum(done.samples.values()) + len(done.left_out) == len(owned)
    names = everything(done.folder)
    for (name, _), (caption, _) in zip(odd_ones, owned[:10], strict=True):
        assert names[name] == caption
    assert len(done.refused) == len(bad_ones) + 2
    reasons = [one.reason for one in done.refused]
    for _, caption, words in bad_ones:
        assert any(words in reason for reason in reasons), (caption, words, reasons)
    listed = json.loads((tmp_path / "data" / "own.import.json").read_text())
    assert [row["reason"] for row in listed["refused"]] == reasons
    assert any("not JSON" in reason for reason in reasons)


def test_what_was_imported_passes_validation(tmp_path: Path, owned: list[Pair], great_expectations: None) -> None:
    done = import_(write_folder(tmp_path / "own", owned), tmp_path / "data")

    verdict = validate(done.folder, get("emoji"), tmp_path)

    assert verdict["success"]
    assert set(done.samples) == {"train", "judge", "test"}


def as_coco(folder: Path, owned: Sequence[Pair]) -> Path:
    (folder / "train2017").mkdir(parents=True)
    (folder / "annotations").mkdir()
    for number, (_, picture) in enumerate(owned):
        (folder / "train2017" / f"{number:03d}.png").write_bytes(encode(picture))
    value = {
        "images": [{"id": 7 * number, "file_name": f"{number:03d}.png"} for number in range(len(owned))],
        "annotations": [
            {"id": number, "image_id": 7 * (number // 2), "caption": owned[number // 2][0] + " again" * (number % 2)}
            for number in range(2 * len(owned))
        ],
    }
    (folder / "annotations" / "captions_train2017.json").write_text(json.dumps(value))
    return folder


def as_webdataset(folder: Path, owned: Sequence[Pair]) -> Path:
    folder.mkdir()
    for shard in range(2):
        with tarfile.open(folder / f"train-{shard:06d}.tar", "w") as tar:
            for number in range(shard, len(owned), 2):
                caption, picture = owned[number]
                for ending, data in (("png", encode(picture)), ("txt", f"{caption}\n".encode()), ("json", b"{}")):
                    info = tarfile.TarInfo(f"some/{number:03d}.{ending}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    return folder


def as_parquet(folder: Path, owned: Sequence[Pair]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (folder / "data").mkdir(parents=True)
    rows = [
        {"image": {"bytes": encode(picture), "path": f"{number:03d}.png"}, "caption": caption}
        for number, (caption, picture) in enumerate(owned)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "data" / "train-00000-of-00001.parquet", row_group_size=50)
    return folder


def as_csv(folder: Path, owned: Sequence[Pair]) -> Path:
    """Split folders, a byte order mark, captions with commas and quotes."""
    (folder / "train").mkdir(parents=True)
    with (folder / "train" / "metadata.csv").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "caption"])
        for number, (caption, picture) in enumerate(owned):
            (folder / "train" / f"{number:03d}.png").write_bytes(encode(picture))
            writer.writerow([f"{number:03d}.png", caption])
    return folder


@pytest.mark.parametrize("make", [as_coco, as_webdataset, as_parquet, as_csv])
def test_every_layout_gives_the_same_samples(tmp_path: Path, owned: list[Pair], make: Any) -> None:
    done = import_(make(tmp_path / "theirs", owned), tmp_path / "data")

    found = {
        caption: picture
        for split in load(done.folder).card.splits
        for corpus in [load_corpus(done.folder, split)]
        for caption, picture in zip(corpus.captions("en"), corpus.images(48), strict=True)
    }
    assert found.keys() == {caption for caption, _ in owned}
    assert all(np.array_equal(found[caption], picture) for caption, picture in owned)
    assert done.refused == []


TINY_MODEL = [
    "model.image_px=16",
    "model.components=16",
    "model.image_tokens=4",
    "model.width=16",
    "model.head_width=32",
    "model.memory_rows=64",
    "model.image_batch=8",
    "model.text_batch=4",
    "training.steps=2",
    "training.threads=1",
    "training.sample_every=2",
]


@pytest.mark.parametrize("make", [write_folder, as_coco, as_webdataset, as_parquet])
def test_a_recipe_trains_on_every_layout(tmp_path: Path, owned: list[Pair], make: Any) -> None:
    done = import_(make(tmp_path / "theirs", owned), tmp_path / "data")
    out, work = tmp_path / "out", tmp_path / "work"
    out.mkdir()
    work.mkdir()

    train(done.folder, get("emoji", TINY_MODEL), out, work, Progress())

    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 2
    assert all(np.isfinite(row["loss"]) for row in rows)
    assert (out / "model" / "weights.safetensors").is_file()


def test_all_captions_of_a_coco_picture_are_kept(tmp_path: Path, owned: list[Pair]) -> None:
    done = import_(as_coco(tmp_path / "theirs", owned), tmp_path / "data")

    corpus = load_corpus(done.folder, "train")
    assert all(facts["more_captions"]["en"] == [f"{facts['captions']['en']} again"] for facts in corpus.facts)


def test_sounds_keep_their_bytes(tmp_path: Path, owned: list[Pair]) -> None:
    import soundfile

    folder = tmp_path / "theirs"
    folder.mkdir()
    rng = np.random.default_rng(0)
    with (folder / "metadata.csv").open("w", newline="") as file:
        file.write("file_name,transcription\n")
        for number in range(80):
            name = f"{number}.{('wav', 'flac', 'ogg')[number % 3]}"
            soundfile.write(folder / name, rng.normal(0, 0.1, 8000), 16_000)
            file.write(f"{name},take {number}\n")

    done = import_(folder, tmp_path / "data")

    assert load(done.folder).card.modalities == ["text", "sound"]
    for split in done.samples:
        corpus = load_corpus(done.folder, split)
        for facts, clip in zip(corpus.facts, corpus.sounds(), strict=True):
            assert np.array_equal(clip, sound.read((folder / facts["name"]).read_bytes(), ""))


def test_two_imports_of_one_folder_are_the_same_bytes(tmp_path: Path, owned: list[Pair]) -> None:
    folder = write_folder(tmp_path / "own", owned)

    first = import_(folder, tmp_path / "a")
    second = import_data(Import(folder=folder, name="own", columns=Columns()), tmp_path / "b", Progress(), workers=1)

    assert data_version(first.folder) == data_version(second.folder) == first.version == second.version


def test_groups_and_near_copies_never_lie_in_two_splits(tmp_path: Path, owned: list[Pair]) -> None:
    copies = [(f"{caption} again", resize(resize(picture, 47), 48)) for caption, picture in owned[:60]]
    both = [*owned, *copies]
    folder = write_folder(tmp_path / "own", both, who=[str(number % 80) for number in range(len(both))])

    done = import_(folder, tmp_path / "data", columns=Columns(group="who"))

    rows = [
        (split, int(facts["name"][:3])) for split in done.samples for facts in load_corpus(done.folder, split).facts
    ]
    splits: dict[int, set[str]] = {}
    for split, number in rows:
        splits.setdefault(number % 80, set()).add(split)
    assert all(len(found) == 1 for found in splits.values())


def test_splits_of_the_owner_hold_and_leaks_are_left_out(tmp_path: Path, owned: list[Pair]) -> None:
    own = ["train"] * 100 + ["validation"] * 30 + ["test"] * 30
    pairs_ = list(owned)
    pairs_[3] = (pairs_[3][0], pairs_[150][1])  # a training picture that is in test as well
    folder = write_folder(tmp_path / "own", pairs_, split=own)

    done = import_(folder, tmp_path / "data")

    assert "003.png" in {one.name for one in done.left_out}
    for split, wanted in (("train", "train"), ("judge", "validation"), ("test", "test")):
        for facts in load_corpus(done.folder, split).facts:
            assert own[int(facts["name"][:3])] == wanted


def test_a_label_becomes_concept_and_group(tmp_path: Path, owned: list[Pair]) -> None:
    labels = ["rare"] * 3 + ["one"] * 77 + ["two"] * 80
    done = import_(write_folder(tmp_path / "own", owned, kind=labels), tmp_path / "data", columns=Columns(label="kind"))

    train = load_corpus(done.folder, "train")
    assert set(train.concepts) <= {"rare", "one", "two"}
    assert set(train.groups) in ({"one", "two"}, {"all"})  # three of a kind are no group


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (Columns(text={"en": "captoin"}), "unknown column 'captoin'; choose from: file_name, text"),
        (Columns(group="who"), "unknown column 'who'"),
        (Columns(label="txet"), "did you mean 'text'"),
    ],
)
def test_a_wrong_column_ends_it_at_once(tmp_path: Path, owned: list[Pair], columns: Columns, words: str) -> None:
    folder = write_folder(tmp_path / "own", owned[:3])

    with pytest.raises(ConfigError, match=words):
        import_(folder, tmp_path / "data", columns=columns)

    assert not (tmp_path / "data").exists()


def test_more_bad_files_than_the_budget_end_it_and_are_listed(tmp_path: Path, owned: list[Pair]) -> None:
    folder = write_folder(tmp_path / "own", owned[:100])
    for number in range(12):
        (folder / f"{number:03d}.png").write_bytes(b"x")

    with pytest.raises(DataError, match="12 of 100 samples are bad, the budget is 10"):
        import_(folder, tmp_path / "data")

    assert len(json.loads((tmp_path / "data" / "own.import.json").read_text())["refused"]) == 12
    assert not (tmp_path / "data" / "own").exists()
    assert sum(import_(folder, tmp_path / "data", budget=0.12).samples.values()) == 88


def test_what_cannot_be_imported_is_one_line(tmp_path: Path, owned: list[Pair]) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="is not a folder"):
        import_(tmp_path / "nowhere", tmp_path / "data")
    with pytest.raises(DataError, match=r"none of the known layouts .*; it holds: nothing"):
        import_(tmp_path / "empty", tmp_path / "data")
    folder = write_folder(tmp_path / "few", owned[:30])
    with pytest.raises(DataError, match=r"would have .* want 20"):
        import_(folder, tmp_path / "data")
    (folder / "more.tar").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"could be read as folder \(1 files\), webdataset \(1 files\); choose one"):
        import_(folder, tmp_path / "data")
    with pytest.raises(ConfigError, match="that of a data set that `mmgen data build` makes"):
        import_data(Import(folder=folder, name="emoji", columns=Columns()), tmp_path, Progress(), 1)
    with pytest.raises(ConfigError, match="use 2 to 32 small letters"):
        import_data(Import(folder=folder, name="../x", columns=Columns()), tmp_path, Progress(), 1)


def test_near_pairs_are_those_of_all_pairs(owned: list[Pair]) -> None:
    rng = np.random.default_rng(0)
    small = np.stack([resize(picture, 16).ravel() for _, picture in owned])
    moved = np.clip(small + rng.normal(0, 4.9, small.shape), 0, 255).astype(np.uint8)
    both = np.concatenate([small, moved])
    squares = ((both[:, None].astype(np.float64) - both[None]) ** 2).sum(2)
    wanted = {(a, b) for a, b in zip(*np.nonzero(squares < NEAR**2 * both.shape[1]), strict=True) if a < b}

    assert set(pairs(both)) == wanted
    assert len(wanted) > 50
    across = {(a, b) for a, b in zip(*np.nonzero(squares[:160, 160:] < NEAR**2 * both.shape[1]), strict=True)}
    assert set(pairs(small, moved)) == across


class Deadly:
    """Ends the process that unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (3,)


def test_an_item_that_kills_its_process_ends_nothing_else() -> None:
    with Crew(2) as crew:
        found = dict(crew.map(list, [[1, 2], [3, Deadly(), 4], [5]]))

    assert found == {0: [1, 2], 1: [3, None, 4], 2: [5]}


def test_a_file_that_changes_during_the_import_is_noticed(
    tmp_path: Path, owned: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmgen.data.imports import importer

    folder = write_folder(tmp_path / "own", owned)
    real = importer.families

    def families(*seen: Any) -> Any:
        (folder / "007.png").write_bytes(encode(owned[8][1]))
        return real(*seen)

    monkeypatch.setattr(importer, "families", families)
    with pytest.raises(DataError, match=r"'007\.png' changed during the import"):
        import_(folder, tmp_path / "data")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["own.import.json"]


def test_what_is_added_comes_beside_what_is_there(tmp_path: Path, owned: list[Pair]) -> None:
    root = tmp_path / "data"
    first = import_(write_folder(tmp_path / "old", owned[:100]), root)
    before = {path.name: path.read_bytes() for path in first.folder.glob("*.tar")}
    home = {facts["name"]: split for split in first.samples for facts in load_corpus(first.folder, split).facts}
    copies = [(f"{caption} again", resize(resize(picture, 47), 48)) for caption, picture in owned[:30]]
    more = write_folder(tmp_path / "more", [*owned[100:], *copies, owned[0]])
    request = Import(folder=more, name="own", columns=Columns())

    done = add_data(request, root, Progress(), 2)

    assert all((done.folder / name).read_bytes() == data for name, data in before.items())
    load(done.folder).verify()
    assert done.version == data_version(done.folder) != first.version
    assert [one.reason for one in done.left_out] == ["is there already, byte by byte"]
    found = {
        caption: split
        for split in load(done.folder).card.splits
        for caption in load_corpus(done.folder, split).captions("en")
    }
    assert len(found) == 190
    for number, (caption, _) in enumerate(copies):
        assert found[caption] == home[f"{number:03d}.png"]
    with pytest.raises(DataError, match=r"nothing in .* is new to"):
        add_data(request, root, Progress(), 2)


def test_an_addition_that_was_killed_is_swept_up(tmp_path: Path, owned: list[Pair]) -> None:
    root = tmp_path / "data"
    first = import_(write_folder(tmp_path / "old", owned[:100]), root)
    (first.folder / "train-00007.tar").write_bytes(b"half a shard")
    more = write_folder(tmp_path / "more", owned[100:])

    done = add_data(Import(folder=more, name="own", columns=Columns()), root, Progress(), 2)

    load(done.folder).verify()
    assert sum(done.samples.values()) == 60


def test_other_modalities_or_built_data_are_not_added_to(tmp_path: Path, owned: list[Pair], tiny_emoji: Path) -> None:
    root = tmp_path / "data"
    import_(write_folder(tmp_path / "old", owned[:100]), root)
    more = write_folder(tmp_path / "more", owned[100:])

    with pytest.raises(ConfigError, match="has image and text in en, the new samples have image and text in de"):
        add_data(Import(folder=more, name="own", columns=Columns(text={"de": "text"})), root, Progress(), 1)
    with pytest.raises(ConfigError, match="is built from packages"):
        add_data(Import(folder=more, name=tiny_emoji.name, columns=Columns()), tiny_emoji.parent, Progress(), 1)
