"""Faults 25 to 30: DVC's remote and the object store, on a real S3 server behind a proxy that misbehaves."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mmgen.data.dataset import data_version, load
from mmgen.errors import DataError, StorageError
from mmgen.files import SEAL, open_sealed, seal
from mmgen.ops.runs.data_store import push_data
from mmgen.ops.storage.folders import pull_folder, push_folder
from mmgen.ops.storage.objects import ObjectStore
from mmgen.ops.storage.retries import Limits
from tests.support import s3 as laboratory
from tests.support.s3 import ACCESS, BUCKET, SECRET, Proxy, Server
from tests.support.whole_run import SMALL, place

s3_server, s3 = laboratory.s3_server, laboratory.s3

ROOT = Path(__file__).resolve().parents[2]
PATIENT = Limits(attempts=4, connect_seconds=60, read_seconds=60, seconds=600, pause=0.02, part_bytes=5 << 20)
"""For what has to work, however busy the machine is."""
HASTY = dataclasses.replace(PATIENT, attempts=8, read_seconds=1, seconds=3)
"""The deadline comes before the attempts are used up."""
PATIENCE = 300
"""Seconds that something may take that is sure to happen."""


@pytest.fixture
def store(s3: Proxy, request: pytest.FixtureRequest) -> ObjectStore:
    """A prefix of its own for every test."""
    return ObjectStore.at(f"s3://{BUCKET}/{hashlib.sha256(request.node.name.encode()).hexdigest()[:12]}", PATIENT)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights.bin"
    path.write_bytes(bytes(range(250)) * 4)
    return path


def transfers(store: ObjectStore, file: Path) -> dict[str, Callable[[], object]]:
    """One operation of each kind on an object that is there."""
    return {
        "up": lambda: store.put_file(file, "weights"),
        "down": lambda: store.get_file("weights", file.with_name("fetched"), size=1000),
    }


@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize("fault", ["500", "503"])
def test_two_server_errors_are_ridden_out(s3: Proxy, store: ObjectStore, file: Path, way: str, fault: str) -> None:
    store.put_file(file, "weights")
    s3.set(fault, times=2)

    transfers(store, file)[way]()

    assert len(s3.requests) == 3


@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize("fault", ["500", "503"])
def test_server_errors_for_ever_end_in_one_line_after_bounded_attempts(
    s3: Proxy, store: ObjectStore, file: Path, way: str, fault: str
) -> None:
    store.put_file(file, "weights")
    s3.set(fault)

    with pytest.raises(StorageError, match=rf"s3://{BUCKET}/\w+/weights': the store .*HTTP {fault}.*; run again"):
        transfers(store, file)[way]()

    assert len(s3.requests) == PATIENT.attempts
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_denied_request_is_not_repeated_and_tells_no_secret(
    s3: Proxy, store: ObjectStore, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store.put_file(file, "weights")
    s3.set("denied")  # the server repeats the Authorization header in its answer

    with pytest.raises(StorageError, match="access is denied") as caught:
        transfers(store, file)["down"]()

    assert len(s3.requests) == 1
    told = [str(error) for error in (caught.value, caught.value.__cause__) if error] + list(capsys.readouterr())
    assert not [word for word in (ACCESS, SECRET, "Signature", "Authorization") if word in "".join(told)]


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_server_that_never_answers_is_asked_no_more_after_the_deadline(
    s3: Proxy, store: ObjectStore, file: Path, way: str
) -> None:
    store.put_file(file, "weights")
    s3.set("silent")
    threads = set(threading.enumerate())

    with pytest.raises(StorageError, match=r"does not answer|took too long"):
        transfers(ObjectStore.at(store.url, HASTY), file)[way]()

    # Each request waits for `read_seconds`, so that no more than these fit in before the deadline.
    assert len(s3.requests) <= 1 + HASTY.seconds / HASTY.read_seconds < HASTY.attempts
    left = {thread for thread in threading.enumerate() if "process_request_thread" not in thread.name} - threads
    assert not left


def test_a_server_that_drips_bytes_is_given_up_long_before_the_last_of_them(
    s3: Proxy, store: ObjectStore, file: Path
) -> None:
    size = 3000
    file.write_bytes(os.urandom(size))
    store.put_file(file, "weights")
    s3.set("drip")  # each byte comes well within the time for one read; all of them would take 300 s

    with pytest.raises(StorageError, match="took too long"):
        ObjectStore.at(store.url, HASTY).get_file("weights", file.with_name("fetched"), size=size)

    assert 0 < s3.dripped < size / 2
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_host_that_does_not_exist_is_named_as_an_address_to_check(
    store: ObjectStore, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://no-such-host.invalid:1")

    with pytest.raises(StorageError, match="cannot be reached; check AWS_ENDPOINT_URL_S3"):
        store.put_file(file, "weights")


@pytest.mark.parametrize("fault", ["cut", "flip"])
def test_an_answer_that_is_cut_or_altered_is_asked_for_again(
    s3: Proxy, store: ObjectStore, file: Path, fault: str
) -> None:
    store.put_file(file, "weights")
    s3.set(fault, times=2)

    store.get_file("weights", file.with_name("fetched"))

    assert file.with_name("fetched").read_bytes() == file.read_bytes()


@pytest.mark.parametrize("fault", ["cut", "flip"])
def test_what_is_cut_or_altered_each_time_never_gets_its_final_name(
    s3: Proxy, store: ObjectStore, file: Path, fault: str
) -> None:
    store.put_file(file, "weights")
    s3.set(fault)
    target = file.with_name("fetched")
    target.write_bytes(b"old")

    with pytest.raises(StorageError, match="is not what was stored"):
        store.get_file("weights", target, size=1000)

    assert target.read_bytes() == b"old"
    assert sorted(path.name for path in file.parent.iterdir()) == ["fetched", file.name]


def test_an_object_without_a_known_hash_is_still_refused_when_it_is_cut(
    s3: Proxy, s3_server: Server, store: ObjectStore, file: Path
) -> None:
    s3_server.client.put_object(Bucket=BUCKET, Key=f"{store.prefix}/weights", Body=file.read_bytes())
    s3.set("cut")

    with pytest.raises(StorageError, match="500 bytes are missing at its end"):
        store.get_file("weights", file.with_name("fetched"), size=1000)

    assert not file.with_name("fetched").exists()


def test_an_object_that_was_exchanged_with_its_metadata_is_refused_by_the_hash_that_the_caller_knows(
    s3_server: Server, store: ObjectStore, file: Path
) -> None:
    store.put_file(file, "weights")
    other = file.read_bytes()[::-1]
    metadata = {"sha256": hashlib.sha256(other).hexdigest()}
    s3_server.client.put_object(Bucket=BUCKET, Key=f"{store.prefix}/weights", Body=other, Metadata=metadata)
    store.get_file("weights", file.with_name("trusting"))  # nobody said what to expect

    with pytest.raises(StorageError, match="sha256 is"):
        store.get_file("weights", file.with_name("fetched"), sha256=hashlib.sha256(file.read_bytes()).hexdigest())

    assert not file.with_name("fetched").exists()


@pytest.mark.parametrize("size", [1000, 6 << 20], ids=["whole", "in parts"])
def test_an_upload_that_is_altered_on_its_way_is_refused_by_the_server(
    s3: Proxy, store: ObjectStore, file: Path, size: int
) -> None:
    file.write_bytes(os.urandom(size))
    s3.set("spoil", only="PUT")

    with pytest.raises(StorageError, match="not those that were sent"):
        store.put_file(file, "weights")
    s3.set("ok")
    assert not store.exists("weights")

    s3.set("spoil", times=1, only="PUT")
    store.put_file(file, "weights")
    store.get_file("weights", file.with_name("fetched"))
    assert file.with_name("fetched").read_bytes() == file.read_bytes()


@pytest.mark.parametrize("size", [1000, 6 << 20], ids=["whole", "in parts"])
def test_a_file_that_is_not_what_its_seal_says_does_not_become_an_object(
    store: ObjectStore, file: Path, size: int
) -> None:
    file.write_bytes(os.urandom(size))

    with pytest.raises(StorageError, match="it was altered"):
        store.put_file(file, "weights", sha256="0" * 64)

    assert not store.exists("weights")


UPLOADER = """
import sys
from pathlib import Path
from mmgen.ops.runs.data_store import push_data
from mmgen.ops.storage.folders import push_folder
from mmgen.ops.storage.objects import ObjectStore
push_folder(ObjectStore.at(sys.argv[1]), Path(sys.argv[2]), "made")
"""


def sealed(folder: Path, files: int = 6, size: int = 1000) -> Path:
    folder.mkdir()
    for number in range(files):
        (folder / f"file-{number}").write_bytes(os.urandom(size))
    seal(folder)
    return folder


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


@pytest.mark.parametrize(("files", "size", "seen"), [(6, 1000, 3), (1, 17 << 20, 2)], ids=["files", "parts"])
def test_what_a_killed_uploader_left_does_not_exist_and_its_retry_repairs_it(
    s3: Proxy, store: ObjectStore, tmp_path: Path, files: int, size: int, seen: int
) -> None:
    folder = sealed(tmp_path / "made", files, size)
    s3.set("slow", only="PUT")
    with subprocess.Popen([sys.executable, "-c", UPLOADER, store.url, str(folder)], cwd=ROOT) as child:
        until(lambda: len(s3.requests) >= seen)
        child.send_signal(signal.SIGKILL)
    s3.set("ok")

    assert not pull_folder(store, "made", tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()

    assert push_folder(store, folder, "made")
    assert [line for line in s3.requests if line.startswith("PUT")][-1].endswith(f"/made/{SEAL}")
    assert pull_folder(store, "made", tmp_path / "fetched")
    open_sealed(tmp_path / "fetched")


def test_a_server_killed_in_the_middle_of_an_upload_leaves_nothing_and_the_next_upload_is_whole(
    s3: Proxy, s3_server: Server, store: ObjectStore, file: Path
) -> None:
    file.write_bytes(os.urandom(6 << 20))
    s3.set("slow", only="partNumber")
    killer = threading.Thread(
        target=lambda: (until(lambda: any("partNumber" in line for line in s3.requests)), s3_server.kill())
    )
    killer.start()
    try:
        with pytest.raises(StorageError, match="weights"):
            store.put_file(file, "weights")
    finally:
        killer.join()
        s3_server.start()
    s3.set("ok")

    assert not store.exists("weights")
    store.put_file(file, "weights")
    store.get_file("weights", file.with_name("fetched"))
    assert file.with_name("fetched").read_bytes() == file.read_bytes()


DVC = [sys.executable, "-c", "import sys; from dvc.cli import main; sys.exit(main())"]


@dataclass(frozen=True)
class Project:
    """A folder under DVC whose remote is the store."""

    folder: Path
    remote: str
    endpoint: str

    def configure(self, more: str) -> None:
        (self.folder / ".dvc").mkdir(exist_ok=True)
        core = "[core]\nno_scm = true\nanalytics = false\nremote = store\n"
        remote = f"['remote \"store\"']\nurl = {self.remote}\nendpointurl = {self.endpoint}\n{more}"
        (self.folder / ".dvc" / "config").write_text(core + remote)

    def start(self, verb: str, *arguments: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(self.folder / "site")}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([*DVC, verb, *arguments], cwd=self.folder, env=environment, **pipes)

    def run(self, verb: str, *arguments: str) -> int:
        with self.start(verb, *arguments) as child:
            child.communicate(timeout=PATIENCE)
            return child.returncode

    def forget(self) -> None:
        """As in a fresh clone: neither data nor cache."""
        shutil.rmtree(self.folder / "emoji", ignore_errors=True)
        shutil.rmtree(self.folder / ".dvc" / "cache", ignore_errors=True)


@pytest.fixture
def project(s3: Proxy, store: ObjectStore, tiny_emoji: Path, tmp_path: Path) -> Project:
    """Real data that were pushed to a remote which is told to verify."""
    made = Project(tmp_path, store.url, s3.endpoint)
    made.configure("verify = true\n")
    shutil.copytree(tiny_emoji, tmp_path / "emoji")
    assert made.run("add", "emoji") == 0
    assert made.run("push") == 0
    made.forget()
    return made


def test_a_tampered_dvc_remote_is_refused_when_the_remote_is_verified_and_taken_when_it_is_not(
    s3_server: Server, store: ObjectStore, project: Project
) -> None:
    key = max(store.keys(), key=lambda key: len(store.get_bytes(key)[0]))  # a shard
    content, _ = store.get_bytes(key)
    tampered = content[:600] + bytes([content[600] ^ 1]) + content[601:]
    s3_server.client.put_object(Bucket=BUCKET, Key=f"{store.prefix}/{key}", Body=tampered)

    assert project.run("pull") != 0
    assert tampered not in [path.read_bytes() for path in project.folder.glob("emoji/*")]

    project.forget()
    project.configure("")
    assert project.run("pull") == 0
    with pytest.raises(DataError):  # what DVC takes without a word is still not a data set
        load(project.folder / "emoji").verify()


@pytest.mark.minutes
def test_a_killed_dvc_pull_is_repaired_by_the_next_one(s3: Proxy, project: Project, tiny_emoji: Path) -> None:
    s3.set("slow", only="GET")
    with project.start("pull") as child:
        until(lambda: len(s3.requests) > 5)
        child.kill()
    s3.set("ok")

    assert project.run("pull") == 0

    load(project.folder / "emoji").verify()
    assert data_version(project.folder / "emoji") == data_version(tiny_emoji)


@pytest.mark.minutes
def test_a_pipeline_whose_roots_are_in_a_store_is_found_done_by_another_machine(
    s3: Proxy, store: ObjectStore, tiny_emoji: Path, tmp_path: Path
) -> None:
    def run(machine: str) -> dict[str, Any]:
        words = ["run", "emoji", "--json", "--root", f"{store.url}/runs", "--data", f"{store.url}/data"]
        words += [word for setting in SMALL for word in ("--set", setting)]
        environment = place(tmp_path / machine)["env"] | {"MMGEN_CACHE": str(tmp_path / machine)}
        line = [sys.executable, "-m", "pipelines.cli", *words]
        done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 30, done.stderr  # the small model learns nothing, so the gate keeps it out
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    push_data(tiny_emoji, f"{store.url}/data")

    first, second = run("one"), run("two")

    assert {stage["state"] for stage in first["stages"].values()} == {"ran"}
    assert {stage["state"] for stage in second["stages"].values()} == {"cached"}
    assert second["metrics"] == first["metrics"]
    assert not list(store.keys("runs/checkpoints"))
