"""What changed between two versions of a data set."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mmgen.data.dataset import load
from mmgen.data.difference import difference
from mmgen.data.shards import Sample
from mmgen.errors import ConfigError
from mmgen.modalities.image import encode, read
from mmgen.ops.data_pin import get_version
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
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        words, check=False, capture_output=True, text=True, env=environment | {"PYTHONPATH": os.fspath(root)}
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["added"] == ["copy"]
    assert found["splits"]["train"] == [60, 59]
    with pytest.raises(ConfigError, match="DVC has no version of 'data/own' at 'nothing'"):
        get_version(Path("data/own"), "nothing", tmp_path / "out")
