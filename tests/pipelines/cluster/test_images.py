"""The images, as far as they can be looked at without building them; tests/containers builds and runs them."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mmgen.errors import ConfigError, StorageError
from mmgen.files import open_sealed
from mmgen.ops.runs import keys
from mmgen.ops.runs.run import code_version
from mmgen.ops.stages.scores import scores_of
from mmgen.progress import Progress
from pipelines.cluster import lock
from pipelines.cluster.images import UNPUSHED
from pipelines.local.containers import Containers
from tests.support.runs import small_run
from tests.support.whole_run import ROOT, WholeRun, mmgen

DOCKERFILE = (ROOT / "components" / "Dockerfile").read_text()
FINAL = DOCKERFILE[DOCKERFILE.index(" AS cpu\n") :]
LINE = re.compile(r"([a-z0-9-]+)==(\S+) --hash=sha256:[0-9a-f]{64}")
WITHOUT_TORCH = """
import importlib.metadata, json, sys
from pathlib import Path
real = importlib.metadata.version
def version(name):
    if name == "torch":
        raise importlib.metadata.PackageNotFoundError(name)
    return real(name)
importlib.metadata.version = version
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
from mmgen.ops.stages.parameters import opened
from mmgen.ops.stages.table import FUNCTIONS
root, data, settings = sys.argv[1:]
states = {}
for stage in ("validate", "gate", "register", "report"):
    with opened(stage, "emoji", settings, root, data, events=None) as job:
        states[stage] = str(FUNCTIONS[stage](job.run, job.progress).folder)
print(json.dumps(states))
"""


def test_the_stages_of_the_cpu_image_run_without_torch_under_the_same_keys(ran: WholeRun, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    shutil.copytree(ran.root, root)
    (root / "mlflow.db").unlink()  # it names the folders of the run that it was made by
    again = ("validate", "gate", "register", "report")
    before = {stage: next(path for path in (root / "stages" / stage).iterdir() if path.is_dir()) for stage in again}
    for folder in before.values():
        shutil.rmtree(folder)

    words = [sys.executable, "-W", "ignore", "-c", WITHOUT_TORCH, str(root), str(ran.data), ran.settings]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MMGEN_", "MLFLOW_"))}
    done = subprocess.run(
        words, cwd=tmp_path, env={**environment, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {stage: str(folder) for stage, folder in before.items()}
    for folder in before.values():
        open_sealed(folder)


def test_a_champion_that_came_late_is_not_scored_where_there_is_no_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mmgen.evaluation.evaluate", None)
    run = small_run(tmp_path)
    run.keys.parts["evaluate"] |= {"inputs": {}, "settings": {}}

    with pytest.raises(StorageError, match=r"champion changed .* run again"):
        scores_of(run, tmp_path / "model", "f" * 16, Progress())


def test_a_package_that_is_not_installed_has_the_version_of_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {name: keys.version(name) for name in ("torch", "numpy", "mlflow", "safetensors")}

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)

    assert {name: keys.version(name) for name in installed} == installed
    with pytest.raises(ConfigError, match="'no-such' is not installed, nor locked"):
        keys.version("no-such")


@pytest.mark.parametrize(
    ("built", "dev", "said"),
    [("a" * 40, False, ("a" * 40, False)), ("a" * 40 + "-dirty", False, ("a" * 40, True)), ("b", True, ("b", True))],
)
def test_an_image_says_its_commit_and_whether_it_can_be_trusted(
    built: str, dev: bool, said: tuple[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMGEN_GIT_COMMIT", built)
    if dev:
        monkeypatch.setenv("MMGEN_IMAGE_DEV", "1")

    assert code_version() == said


@pytest.mark.parametrize("target", list(lock.WANTED))
def test_an_image_holds_the_locked_versions_with_hashes_and_all_that_they_require(target: str) -> None:
    lines = lock.path(target).read_text().splitlines()[1:]
    found = [LINE.fullmatch(line) for line in lines]

    assert all(found), "a line without a hash; run: python -m pipelines.cluster.lock"
    assert {match[1]: match[2] for match in found if match} == lock.packages(target)


def test_torch_is_in_the_gpu_image_only() -> None:
    assert not [name for name in lock.packages("cpu") if name.startswith(("torch", "nvidia", "cuda", "triton"))]
    assert "torch" in lock.packages("gpu")


def test_the_linter_of_dockerfiles_is_content() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.is_file():
        pytest.skip("hadolint is not installed")
    done = subprocess.run([hadolint, ROOT / "components" / "Dockerfile"], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "")


def test_the_last_stages_run_as_a_number_that_is_not_root_and_install_nothing() -> None:
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.M) == ["10001:10001"]
    assert "pip install" not in FINAL
    assert not re.search(r"^ADD ", DOCKERFILE, re.M)
    assert DOCKERFILE.count("--require-hashes") == DOCKERFILE.count("pip install") == 2
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.M) == ["${BASE}", "${BASE}", "${BASE}", "${BASE}", "cpu"]


def test_nothing_in_an_image_calls_home_unpickles_or_writes_beside_tmp() -> None:
    for line in (
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false",
        "MLFLOW_DISABLE_TELEMETRY=true",
        "GX_ANALYTICS_ENABLED=false",
        "DVC_NO_ANALYTICS=1",
        "PYTHONDONTWRITEBYTECODE=1",
        "HOME=/tmp",
        "MPLCONFIGDIR=/tmp/matplotlib",
    ):
        assert re.search(rf"^(ENV|   ) {re.escape(line)}( \\)?$", FINAL, re.M), line


def test_a_builder_is_sent_only_what_the_dockerfile_copies() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    copied = {word for words in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.M) for word in words.split()}

    assert lines[0] == "*"
    assert {line[1:] for line in lines if line[0] == "!"} == {name.partition("/")[0] for name in copied}


@pytest.mark.parametrize("base", ["", "python:3.11-slim", "python@sha256:abc"])
def test_a_base_without_a_digest_is_refused_in_one_line(base: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "DEV"}
    done = subprocess.run(
        [ROOT / ".ci" / "images"], env={**environment, "BASE": base}, capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert done.stderr.startswith(f"images: BASE='{base}' has no digest; write BASE=")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("further", ["", "[]", "{", "network_mode=host"])
def test_arguments_for_docker_have_to_be_an_object(further: str) -> None:
    with pytest.raises(ConfigError, match="no JSON object"):
        Containers(images=UNPUSHED, further=further)


def test_a_run_in_containers_needs_images_and_says_so() -> None:
    done = mmgen("run", "emoji", "--runner", "docker")

    assert done.returncode == 10
    assert done.stderr == "mmgen: no image is named for 'cpu'; add: --image cpu=NAME@sha256:...\n"
