"""What changed between two versions of a data set."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmgen.data.changes.difference import difference
from mmgen.data.changes.scans import FILE, Seen, kept
from mmgen.data.changes.shift import shifts
from mmgen.data.dataset import load
from mmgen.data.shards import Sample
from mmgen.errors import ConfigError, DataError
from mmgen.modalities.image import encode, read
from mmgen.ops.validation.data_pin import get_version
from mmgen.progress import Progress
from tests.conftest import rewrite


def told(sample: Sample, caption: str) -> Sample:
    facts = sample.facts() | {"captions": {"en": caption}}
    return Sample(sample.key, sample.parts | {"json": json.dumps(facts).encode()})


@pytest.fixture
def versions(tiny_emoji: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A data set, and the next version of it with one change of every kind."""
    before, after = tmp_path / "before", tmp_path / "after"
    dataset = load(tiny_emoji)
    splits = {split: dataset.split(split) for split in dataset.card.splits}
    rewrite(before, dataset.card, {split: list(samples) for split, samples in splits.items()})
    train, judge = splits["train"], splits["judge"]
    picture = read(train[4].parts["png"], "")
    train[0] = told(train[0], f"{train[0].facts()['captions']['en']} zyx")
    train[1] = Sample(train[1].key, train[1].parts | {"png": judge[5].parts["png"]})
    judge.append(train.pop(2))
    train.pop(3)
    train.append(Sample("copy", splits["concepts"][0].parts | {"png": encode(picture // 2 * 2)}))
    rewrite(after, dataset.card, splits)
    return before, after


def test_every_kind_of_change_is_found(versions: tuple[Path, Path]) -> None:
    before, after = versions
    there = load(before).split("train")

    found = difference(before, after, Progress(), 2)

    assert found.splits == {"train": (60, 59), "judge": (60, 61), "compositions": (60, 60), "concepts": (60, 60)}
    assert [seen.key for seen in found.added] == ["copy"]
    assert [seen.key for seen in found.removed] == [there[4].key]
    assert [seen.key for seen in found.changed] == [there[1].key]
    assert [(was.key, was.split, now.split) for was, now in found.moved] == [(there[2].key, "train", "judge")]
    assert [was.key for was, _ in found.retold] == [there[0].key]
    assert found.new_words == ["zyx"]
    assert ("copy", there[4].key) in {(new.key, old.key) for new, old in found.copies}
    assert there[1].key in {seen.key for pair in found.leaks for seen in pair}
    assert not found.shifts["captions"].beyond_chance  # one caption in 240
    assert {key for key, _, _ in found.shifts["pictures"].foreign} == {"copy", there[1].key}


def test_a_version_of_a_commit_is_compared_with_what_is_there(
    versions: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "clone"
    shutil.copytree(versions[0], repository / "data" / "own")
    monkeypatch.chdir(repository)
    environment = (
        os.environ
        | {"DVC_NO_ANALYTICS": "1"}
        | {
            f"GIT_{role}_{what}": value
            for role in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", "somebody"), ("EMAIL", "somebody@example.org"))
        }
    )
    for command in (
        ["git", "init", "--quiet"],
        [sys.executable, "-m", "dvc", "init", "--quiet"],
        [sys.executable, "-m", "dvc", "add", "--quiet", "data/own"],
        ["git", "add", "--all"],
        ["git", "commit", "--quiet", "--message", "the first version"],
    ):
        subprocess.run(command, check=True, env=environment)
    shutil.rmtree("data/own")
    shutil.copytree(versions[1], "data/own")

    words = [sys.executable, "-m", "pipelines.cli", "data", "diff", "own", "--json"]
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        words, check=False, capture_output=True, text=True, env=environment | {"PYTHONPATH": os.fspath(root)}
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["added"] == ["copy"]
    assert found["splits"]["train"] == [60, 59]
    with pytest.raises(ConfigError, match="DVC has no version of 'data/own' at 'nothing'"):
        get_version(Path("data/own"), "nothing", tmp_path / "out")


def scene(number: int, brightness: float, caption: str) -> Seen:
    rng = np.random.default_rng(number)
    thumbnail = np.clip(rng.normal(brightness, 40, (16, 16, 3)), 0, 255).astype(np.uint8).ravel()
    return Seen(f"s{number:04d}", "train", number.to_bytes(4), {"en": f"{caption} {rng.integers(30)}"}, thumbnail)


def test_a_shift_is_told_from_chance() -> None:
    old = [scene(number, 120, "a red cap") for number in range(300)]
    same = [scene(number, 120, "a red cap") for number in range(1000, 1200)]
    darker = [scene(number, 110, "a red cap") for number in range(2000, 2200)]
    retold = [scene(number, 120, "two blue caps") for number in range(3000, 3200)]

    def moved(new: list[Seen]) -> set[str]:
        return {kind for kind, shift in shifts(old, new, new).items() if shift.beyond_chance}

    assert moved(old) == moved(same) == set()
    assert moved(darker) == {"pictures"}
    assert moved(retold) == {"captions"}
    white = scene(9000, 250, "something else")
    found = shifts(old, [*old, *same[:20], white], [*same[:20], white])
    assert [shift.foreign[0][0] for shift in found.values()] == ["s9000", "s9000"]
    assert found["pictures"].n == 150
    low, high = found["pictures"].chance[1:]
    assert low < 0 < high
    assert shifts(old[:19], same, same) == {}


def test_what_was_seen_is_used_again_and_never_for_other_bytes(
    versions: tuple[Path, Path],
) -> None:
    before, after = versions
    first = difference(before, after, Progress(), 1)
    shards = {shard.sha256 for of in load(after).card.splits.values() for shard in of}
    assert shards <= kept(after).keys()

    again = difference(before, after, Progress(), 1)

    assert [seen.key for seen in again.changed] == [seen.key for seen in first.changed]
    assert [(a.key, b.key) for a, b in again.leaks] == [(a.key, b.key) for a, b in first.leaks]
    assert again.shifts == first.shifts
    shard = after / load(after).card.splits["train"][0].file
    content = bytearray(shard.read_bytes())
    content[-20_000] ^= 1
    shard.write_bytes(content)
    with pytest.raises(DataError, match="sha256 differs"):
        difference(before, after, Progress(), 1)
    cache = after.with_name(f".{after.name}.seen") / FILE
    cache.write_bytes(cache.read_bytes()[:-1] + b"x")
    assert kept(after) == {}
