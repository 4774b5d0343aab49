"""Roots and data on a real S3 server: stages, checkpoints and data sets come from there and go there."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mmgen.data.dataset import data_version
from mmgen.errors import ConfigError, DataError, StorageError
from mmgen.files import SEAL, is_sealed, open_sealed, read_json, seal, write_bytes, write_json
from mmgen.ops.registry import promotions
from mmgen.ops.registry.promotions import Move
from mmgen.ops.runs import cache
from mmgen.ops.runs.cache import StageResult, run_stage, scratch, sealed_output
from mmgen.ops.runs.data_store import data_folder, push_data
from mmgen.ops.runs.run import throw_away
from mmgen.ops.storage import checkpoints
from mmgen.ops.storage.checkpoints import forget, mirrored
from mmgen.ops.storage.exclusive import shelf
from mmgen.ops.storage.folders import pull_folder, sealed_below
from mmgen.ops.storage.objects import ObjectStore
from mmgen.ops.storage.retries import Limits
from mmgen.ops.storage.roots import REMOTE, open_root, store_of
from pipelines.local.doctor import examine
from tests.support import s3 as laboratory
from tests.support.runs import small_run
from tests.support.s3 import BUCKET, Proxy, Server

s3_server, s3 = laboratory.s3_server, laboratory.s3

KEY = "0123456789abcdef"
PATIENCE = 300
"""Seconds that something may take that is sure to happen."""
TWICE = Limits(attempts=2, connect_seconds=60, read_seconds=60, seconds=600, pause=0.02)


@pytest.fixture
def url(s3: Proxy, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A root of its own for every test."""
    monkeypatch.setenv("MMGEN_CACHE", str(tmp_path / "cache"))
    return f"s3://{BUCKET}/{abs(hash(request.node.name))}"


@pytest.fixture
def pods(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Folders of two machines for the same root."""
    roots = []
    for name in ("one", "two"):
        monkeypatch.setenv("MMGEN_CACHE", str(tmp_path / name))
        roots.append(open_root(url))
    return roots


def make(root: Path, content: bytes = b"made", calls: list[Path] | None = None) -> StageResult:
    def work(out: Path) -> None:
        if calls is not None:
            calls.append(out)
        write_bytes(out / "model" / "weights", content)

    return run_stage("train", KEY, root, work, facts={"recipe": "emoji"})


def test_a_place_in_a_store_is_a_folder_that_knows_its_store(url: str) -> None:
    root = open_root(url + "/")

    assert store_of(root) == ObjectStore.at(url)
    assert open_root(url) == root
    assert open_root("runs") == Path("runs")
    assert store_of(Path("runs")) is None


@pytest.mark.parametrize(
    "place",
    [
        "s3://",
        "s3://Bad/x",
        "s3://key:secret@bucket/x",
        "s3://bucket/x?X-Amz-Signature=secret",
        "s3://bucket/a/../b",
        "s3://bucket/a?b",
        "s3://bucket/a//b",
    ],
)
def test_what_is_no_address_of_a_store_is_refused_without_its_secrets(place: str) -> None:
    with pytest.raises(ConfigError, match="no address of a store") as caught:
        open_root(place)

    assert "secret" not in str(caught.value)


def test_a_condition_on_a_small_object_holds(url: str) -> None:
    store = ObjectStore.at(url)

    first = store.put_bytes(b"one", "note", if_absent=True)
    assert first
    assert store.put_bytes(b"one", "note", if_absent=True) == first  # ours, its answer may have been lost
    assert store.put_bytes(b"two", "note", if_absent=True) is None
    second = store.put_bytes(b"two", "note", etag=first)
    assert second
    assert store.put_bytes(b"three", "note", etag=first) is None
    assert store.get_bytes("note") == (b"two", second)
    store.delete("note")
    assert not store.exists("note")
    assert list(store.keys()) == []


def test_a_stage_that_another_machine_made_is_fetched_and_not_made_again(pods: list[Path]) -> None:
    calls: list[Path] = []

    made, found = make(pods[0], calls=calls), make(pods[1], b"other", calls=calls)

    assert (made.state, found.state, len(calls)) == ("ran", "cached", 1)
    assert (found.folder / "model" / "weights").read_bytes() == b"made"
    assert open_sealed(found.folder) == open_sealed(made.folder)
    assert sorted(path.name for path in found.folder.parent.iterdir()) == [KEY]


def test_a_stage_only_in_the_store_is_found_by_those_who_only_read(pods: list[Path]) -> None:
    assert sealed_output(pods[1], "train", KEY) is None
    make(pods[0])

    found = sealed_output(pods[1], "train", KEY)

    assert found == pods[1] / "stages" / "train" / KEY
    open_sealed(found)


def test_a_stage_whose_upload_failed_is_uploaded_by_the_next_try_without_being_made_again(
    pods: list[Path], s3: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "store_of", lambda root: ObjectStore.at(read_json(root / REMOTE)["url"], TWICE))
    calls: list[Path] = []
    s3.set("500", only="PUT")
    with pytest.raises(StorageError, match="the store failed"):
        make(pods[0], calls=calls)
    assert not is_sealed(pods[0] / "stages" / "train" / KEY)
    s3.set("ok")
    assert sealed_output(pods[1], "train", KEY) is None  # half of it is there, and nobody sees it

    make(pods[0], b"another time", calls=calls)

    assert len(calls) == 1
    fetched = sealed_output(pods[1], "train", KEY)
    assert fetched is not None
    assert (fetched / "model" / "weights").read_bytes() == b"made"


def test_of_two_machines_that_make_a_stage_at_once_both_end_with_what_was_sealed_first(pods: list[Path]) -> None:
    together = threading.Barrier(2)
    results: dict[Path, StageResult] = {}

    def pod(root: Path) -> None:
        def work(out: Path) -> None:
            together.wait(PATIENCE)  # both have asked the store, and it had nothing
            (out / "pod").write_text(root.parts[-3])

        results[root] = run_stage("train", KEY, root, work, facts={})

    threads = [threading.Thread(target=pod, args=(root,)) for root in pods]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    said = {(result.folder / "pod").read_text() for result in results.values()}
    assert len(results) == 2
    assert len(said) == 1
    for result in results.values():
        open_sealed(result.folder)


@pytest.mark.parametrize("name", ["../escaped", "/escaped", "a/../../escaped", "SEAL.json", "a//b"])
def test_a_seal_that_names_a_file_outside_its_folder_is_refused(url: str, name: str, tmp_path: Path) -> None:
    store = ObjectStore.at(url)
    seal_there = {"files": {name: {"bytes": 1, "sha256": "0" * 64}}}
    store.put_bytes(json.dumps(seal_there).encode(), f"made/{SEAL}")

    with pytest.raises(StorageError, match="is no seal"):
        pull_folder(store, "made", tmp_path / "fetched" / "made")

    assert list(tmp_path.rglob("*escaped*")) == []


def checkpoint(work: Path, step: int) -> None:
    """What a training leaves in its scratch folder at `step`."""
    with (work / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": step}) + "\n")
    write_bytes(work / "samples" / f"step-{step:06d}.png", b"picture")
    folder = work / f"step-{step:06d}"
    write_json(folder / "state.json", {"step": step})
    seal(folder)


def place_for(root: Path) -> Path:
    work = scratch(root / "stages" / "train" / f"{KEY}.work" / "out")
    work.mkdir(parents=True)
    return work


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "POLL_SECONDS", 0.05)


@pytest.mark.usefixtures("quick")
def test_a_training_on_another_machine_goes_on_from_the_newest_checkpoint_with_its_rows_and_pictures(
    pods: list[Path], url: str
) -> None:
    store, there = ObjectStore.at(url), f"checkpoints/{KEY}"
    work = place_for(pods[0])
    with contextlib.suppress(KeyboardInterrupt), mirrored(pods[0], KEY, work):
        for step in (100, 200, 300):
            checkpoint(work, step)
            wait_until(lambda: f"step-{step:06d}" in sealed_below(store, there))  # noqa: B023
        checkpoint(work, 400)
        raise KeyboardInterrupt  # stopped: the last one still goes up
    assert sealed_below(store, there) == ["step-000300", "step-000400"]

    other = place_for(pods[1])
    checkpoint(other, 100)  # of an earlier try on that machine
    with mirrored(pods[1], KEY, other):
        open_sealed(other / "step-000400")
        rows = [json.loads(line)["step"] for line in (other / "metrics.jsonl").read_text().splitlines()]
        assert rows == [100, 200, 300, 400]
        assert len(list((other / "samples").iterdir())) == 4

    forget(pods[1], KEY)
    assert list(store.keys(there)) == []


@pytest.mark.usefixtures("quick")
def test_a_checkpoint_that_was_altered_in_the_store_is_passed_over_for_the_one_before(
    pods: list[Path], url: str, s3_server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    store, there = ObjectStore.at(url), f"checkpoints/{KEY}"
    work = place_for(pods[0])
    with mirrored(pods[0], KEY, work):
        for step in (100, 200):
            checkpoint(work, step)
            wait_until(lambda: f"step-{step:06d}" in sealed_below(store, there))  # noqa: B023
    key = next(key for key in store.keys(f"{there}/step-000200") if key.endswith("state.json"))
    content, _ = store.get_bytes(key)
    s3_server.client.put_object(Bucket=BUCKET, Key=f"{store.prefix}/{key}", Body=content.replace(b"2", b"3"))

    other = place_for(pods[1])
    with mirrored(pods[1], KEY, other):
        assert [path.name for path in other.glob("step-*")] == ["step-000100"]

    assert "checkpoint step-000200 is passed over" in capsys.readouterr().err


@pytest.mark.usefixtures("quick")
def test_a_store_that_fails_costs_training_one_warning_and_is_never_asked_by_it(
    pods: list[Path], s3: Proxy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    twice = ObjectStore.at(read_json(pods[0] / REMOTE)["url"], TWICE)
    monkeypatch.setattr(checkpoints, "store_of", lambda root: twice)
    monkeypatch.setattr(checkpoints, "WARN_SECONDS", 3600.0)
    push, pushers = checkpoints.push_folder, set()

    def pushed(*given: Any) -> bool:
        pushers.add(threading.current_thread().name)
        return push(*given)

    monkeypatch.setattr(checkpoints, "push_folder", pushed)
    work = place_for(pods[0])
    with mirrored(pods[0], KEY, work):
        s3.set("500")
        for step in (100, 200):
            checkpoint(work, step)
        wait_until(lambda: len(s3.requests) >= 20)  # three pushes at least: it is tried again and again

    assert pushers == {"checkpoints"}  # the thread beside the training
    assert capsys.readouterr().err.count("mmgen: warning: checkpoint not stored") == 1


def test_a_data_set_is_fetched_once_for_each_version_and_is_the_same_data_set(
    url: str, s3: Proxy, tiny_emoji: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "emoji"
    shutil.copytree(tiny_emoji, copy)
    assert push_data(copy, url) == f"{url}/emoji"
    root = open_root(url)

    first = data_folder(root, "emoji")
    s3.set("ok")
    again = data_folder(root, "emoji")

    assert data_version(first) == data_version(tiny_emoji)
    assert again == first
    assert len(s3.requests) == 2  # only the card is asked for
    card = read_json(copy / "dataset.json")
    write_json(copy / "dataset.json", card | {"title": "another version"})
    push_data(copy, url)
    assert data_folder(root, "emoji") != first
    assert first.is_dir()


def test_a_shard_that_is_not_the_one_on_the_card_is_refused(url: str, tiny_emoji: Path, s3_server: Server) -> None:
    push_data(tiny_emoji, url)
    store = ObjectStore.at(url)
    content, _ = store.get_bytes("emoji/train-00001.tar")
    s3_server.client.put_object(Bucket=BUCKET, Key=f"{store.prefix}/emoji/train-00001.tar", Body=content[:-1] + b"x")

    with pytest.raises(StorageError, match=r"train-00001\.tar"):
        data_folder(open_root(url), "emoji")

    assert not list(open_root(url).glob("*/emoji"))


def test_a_data_set_that_the_store_lacks_is_said_to_be_pushed_first(url: str) -> None:
    with pytest.raises(DataError, match=f"mmgen data push emoji {url}"):
        data_folder(open_root(url), "emoji")


def mmgen(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    line = [sys.executable, "-m", "pipelines.cli", *words]
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_command_line_takes_addresses_of_stores_for_root_and_data(
    url: str, tiny_emoji: Path, tmp_path: Path
) -> None:
    pushed = mmgen(tmp_path, "data", "push", tiny_emoji.name, f"{url}/data", "--data", str(tiny_emoji.parent))
    planned = mmgen(tmp_path, "plan", "emoji", "--root", f"{url}/runs", "--data", f"{url}/data", "--json")

    assert pushed.stdout.strip() == f"{url}/data/emoji", pushed.stderr
    assert planned.returncode == 0, planned.stderr
    assert json.loads(planned.stdout)["data_version"] == data_version(tiny_emoji)
    assert not (tmp_path / "s3:").exists()


def test_doctor_says_whether_the_stores_answer_and_which_dvc_remote_is_not_verified(
    url: str, tmp_path: Path, s3: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".dvc").mkdir()
    remotes = "['remote \"good\"']\n    url = s3://a/b\n    verify = true\n['remote \"bad\"']\n    url = s3://a/c\n"
    (tmp_path / ".dvc" / "config").write_text(f"[core]\n    analytics = false\n    autostage = true\n{remotes}")

    def lines(what: str) -> list[tuple[str, str]]:
        return [(found, way_out) for name, found, way_out in examine(open_root(url), tmp_path / "data") if name == what]

    assert lines("dvc")[-2:] == [
        ("remote good is verified", ""),
        ("remote bad is not verified on pull", "run: dvc remote modify bad verify true"),
    ]
    assert lines("store") == [(f"{url} answers", "")]
    s3.set("denied")
    assert "access is denied" in lines("store")[0][0]
    assert "credentials" in lines("store")[0][1]


def test_of_many_machines_that_promote_at_once_one_wins_and_all_read_the_same_log(pods: list[Path]) -> None:
    facts = {"model": "mmgen-emoji", "action": "promote", "reason": "", "run_key": "", "model_sha256": ""}
    grounds = [shelf(pod) for pod in pods]

    def attempt(number: int) -> Move | None:
        return promotions.append(grounds[number % 2], [], version=str(number), before="", **facts)

    with ThreadPoolExecutor(16) as pool:
        won = [move for move in pool.map(attempt, range(50)) if move]

    assert len(won) == 1
    assert [promotions.moves(ground, "mmgen-emoji") for ground in grounds] == [won, won]
    second = promotions.append(grounds[1], won, version="99", before=won[0].version, **facts)
    assert promotions.moves(grounds[0], "mmgen-emoji") == [*won, second]


def test_a_stage_that_was_thrown_away_is_gone_from_the_store_too(pods: list[Path]) -> None:
    make(pods[0])
    run = small_run(pods[0])
    run = dataclasses.replace(run, keys=dataclasses.replace(run.keys, stages={**run.keys.stages, "train": KEY}))
    assert sealed_output(pods[1], "train", KEY) is not None
    shutil.rmtree(pods[1] / "stages")

    throw_away(run, "train")

    assert not run.folder("train").exists()
    assert sealed_output(pods[1], "train", KEY) is None
