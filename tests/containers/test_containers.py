"""Both images, built and run: what is in them, and the whole pipeline through KFP's DockerRunner."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mmgen.files import open_sealed
from mmgen.ops.runs.keys import STAGES
from mmgen.ops.runs.run import open_run
from tests.containers.conftest import BASE, COMMIT, Docker
from tests.support.whole_run import SMALL, command, place

pytestmark = pytest.mark.containers

LARGEST_BYTES = 400_000_000
OWNER = 10001
TRIED = """
id -u; id -g
touch /app/x /opt/site/x /x 2>/dev/null && echo can write
python3 -c 'import torch' 2>/dev/null && echo has torch
python3 -m pip --version 2>/dev/null && echo has pip
python3 -m ensurepip 2>/dev/null && echo has ensurepip
command -v pip pip3 gcc cc g++ make git
touch /tmp/x && echo done
"""


def size(docker: Docker, image: str) -> int:
    return int(docker("image", "inspect", "--format", "{{.Size}}", image))


def test_the_cpu_image_is_small_and_the_gpu_image_adds_to_it(docker: Docker, images: dict[str, str]) -> None:
    own = size(docker, images["cpu"]) - size(docker, BASE)
    print(
        f"cpu image without its base: {own / 1e6:.0f} MB; gpu adds {size(docker, images['gpu']) / 1e6 - own / 1e6:.0f}"
    )

    assert own <= LARGEST_BYTES
    layers = {
        role: json.loads(docker("image", "inspect", name))[0]["RootFS"]["Layers"] for role, name in images.items()
    }
    assert layers["gpu"][: len(layers["cpu"])] == layers["cpu"]


@pytest.mark.parametrize("role", ["cpu", "gpu"])
def test_an_image_is_nobodys_root_installs_nothing_and_writes_only_to_tmp(
    docker: Docker, images: dict[str, str], role: str
) -> None:
    assert docker.inside(images[role], TRIED).split() == [str(OWNER), str(OWNER), "done"]


@pytest.mark.parametrize("role", ["cpu", "gpu"])
def test_an_image_says_which_commit_it_was_built_from(docker: Docker, images: dict[str, str], role: str) -> None:
    config = json.loads(docker("image", "inspect", images[role]))[0]["Config"]

    assert config["Labels"]["org.opencontainers.image.revision"] == COMMIT
    assert f"MMGEN_GIT_COMMIT={COMMIT}" in config["Env"]


def test_the_pipeline_runs_in_both_images_as_it_does_outside(
    docker: Docker, images: dict[str, str], torch_mounts: list[dict[str, Any]], tiny_emoji: Path, tmp_path: Path
) -> None:
    root, data = tmp_path / "runs", tmp_path / "data"
    shutil.copytree(tiny_emoji, data / "emoji")
    root.mkdir()
    os.chown(root, OWNER, OWNER)
    for folder in [tmp_path, *tmp_path.parents[:2]]:  # pytest keeps its folders to itself
        folder.chmod(0o755)
    named = [word for role, image in images.items() for word in ("--image", f"{role}={image}")]
    further = json.dumps({"network_mode": "none", "mounts": torch_mounts})

    line = command(
        "run",
        "emoji",
        "--json",
        "--runner",
        "docker",
        "--dev",
        *named,
        "--docker",
        further,
        root=root,
        data=data,
        small=True,
    )
    where = place(root)
    where["env"]["DOCKER_HOST"] = docker.environment["DOCKER_HOST"]
    done = subprocess.run(line, **where, check=False, capture_output=True, text=True)

    assert done.returncode == 30, done.stderr  # the small model learns nothing, so the gate keeps it out
    summary = json.loads(done.stdout)
    assert {name: stage["state"] for name, stage in summary["stages"].items()} == dict.fromkeys(STAGES, "ran")
    outside = open_run("emoji", SMALL, root, data)
    for stage in STAGES[:5]:  # what registers and reports belongs to a run in these images
        assert outside.folder(stage).stat().st_uid == OWNER
        seal = open_sealed(outside.folder(stage))
        assert (seal["git_commit"], seal["git_dirty"]) == (COMMIT, True)
    assert Path(summary["report"]).stat().st_size > 10_000
    assert not docker("ps", "--all", "--quiet").strip()
