"""Data sets and one whole run that tests share: built once a session from pinned packages, never from made-up samples.

Processes of pytest-xdist are one session here: the first that wants a data set builds it, the others wait for it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import os
import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from mmgen.data.dataset import Card, load
from mmgen.data.shards import Sample, write_shards
from mmgen.data.sources.build import build
from mmgen.data.sources.packages import fetch
from mmgen.errors import StorageError
from mmgen.ops.storage.locks import locked
from tests.support.whole_run import WholeRun, whole_run

TINY = 60
"""Samples of each split of `tiny_emoji`; in `train` as many of each of the five groups."""


def pytest_report_header() -> str:
    """Says what the tests of the tracker run against on this machine."""
    from tests.support.mlflow_server import store_in_words

    return f"MLflow's server over: {store_in_words()}"


@pytest.fixture(scope="session")
def great_expectations() -> None:
    """Import Great Expectations once, quietly: on import it uses parts of Python that are deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("great_expectations.expectations")


@pytest.fixture(scope="session")
def emoji_wheel() -> Path:
    """The wheel that the captions come from."""
    return fetch("emoji").resolve()


def session_folder(factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of the session have in common."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def built(name: str, factory: pytest.TempPathFactory) -> Path:
    """A whole data set. Read it, never write to it."""
    folder = session_folder(factory) / "data-sets" / name
    with locked(folder, wait=3600):
        return build(name, folder)


def opt_in(name: str, factory: pytest.TempPathFactory) -> Path:
    """A data set whose packages come from a registry that not every machine reaches: without it, its tests skip."""
    try:
        return built(name, factory)
    except StorageError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def emoji(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("emoji", tmp_path_factory)


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("digits", tmp_path_factory)


@pytest.fixture(scope="session")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """From Debian's packages."""
    return opt_in("prompts", tmp_path_factory)


@pytest.fixture(scope="session")
def styles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """From npm's packages."""
    return opt_in("styles", tmp_path_factory)


@pytest.fixture(scope="session")
def tunes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("tunes", tmp_path_factory)


@pytest.fixture(scope="session")
def spoken_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """On Linux with x86-64 only."""
    return built("spoken_digits", tmp_path_factory)


@pytest.fixture(scope="session")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("moving", tmp_path_factory)


@pytest.fixture(scope="session")
def tiny_emoji(emoji: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 real samples of each split of the emoji data set, in shards of 25. Copy it before you change it."""
    folder = tmp_path_factory.mktemp("tiny") / "emoji"
    dataset = load(emoji)
    cut = {split: _cut(dataset.split(split), spread=split == "train") for split in dataset.card.splits}
    rewrite(folder, dataset.card, cut)
    return folder


def rewrite(folder: Path, card: Card, splits: dict[str, list[Sample]]) -> None:
    """Write samples and a card that agrees with them; whatever else the card says is kept."""
    folder.mkdir(exist_ok=True)
    shards = {split: write_shards(folder, split, samples, per_shard=25) for split, samples in splits.items()}
    dataclasses.replace(card, splits=shards).save(folder)


def _cut(samples: list[Sample], spread: bool) -> list[Sample]:
    """TINY samples, the same in every run and in no order of their keys."""
    drawn = sorted(samples, key=lambda sample: hashlib.sha256(sample.key.encode()).digest())
    if not spread:
        return drawn[:TINY]
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in drawn:
        groups[sample.facts()["group"]].append(sample)
    return [sample for group in groups.values() for sample in group[: TINY // len(groups)]]


@pytest.fixture(scope="session")
def ran(tiny_emoji: Path, tmp_path_factory: pytest.TempPathFactory) -> WholeRun:
    """The whole pipeline, run once a session through the real command line. Look, do not touch."""
    return whole_run(tmp_path_factory.getbasetemp(), tiny_emoji)


Change = Callable[[dict[str, list[Sample]]], None]


@pytest.fixture
def changed(tiny_emoji: Path, tmp_path: Path) -> Callable[[Change], Path]:
    """A copy of `tiny_emoji` whose samples were changed by a function, with a card that agrees with the change."""

    def change(edit: Change) -> Path:
        dataset = load(tiny_emoji)
        splits = {split: dataset.split(split) for split in dataset.card.splits}
        edit(splits)
        folder = tmp_path / "emoji"
        rewrite(folder, dataset.card, splits)
        return folder

    return change
