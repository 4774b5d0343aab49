"""A Docker daemon of the test's own, a stand-in for the base image, and both images built on it.

No registry is asked for an image: the stand-in for python:3.11-slim is Debian with its Python, by debootstrap. torch is
not installed into the gpu image but mounted from this machine's packages: it would be 5 GB.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest

from tests.support.whole_run import ROOT

BASE = "stand-in-python:3.11"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
MOUNTED = re.compile(r"torch|triton|nvidia-.*|cuda-.*")
BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
SETTINGS = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")


@dataclass(frozen=True)
class Docker:
    """A daemon to talk to."""

    environment: dict[str, str]

    def __call__(self, *words: str | Path, **how: Any) -> str:
        """Output of `docker words`."""
        line = ["docker", *map(str, words)]
        done = subprocess.run(line, env=self.environment, check=False, capture_output=True, text=True, **how)
        assert done.returncode == 0, f"{line}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    def inside(self, image: str, script: str) -> str:
        """Output of a script in a container of `image`, as it would run on a cluster: nothing to write to but /tmp."""
        return self("run", "--rm", "--read-only", "--tmpfs", "/tmp", "--network", "none", image, "sh", "-c", script)


@pytest.fixture(scope="session")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    """A daemon that needs no network of its own; it ends with the session, and its images with it."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("dockerd", "docker", "debootstrap"))):
        pytest.skip("needs root and Debian's docker.io and debootstrap")
    folder = tmp_path_factory.mktemp("docker")
    config = folder / "daemon.json"
    config.write_text('{"default-ulimits": {"nofile": {"Name": "nofile", "Soft": 20000, "Hard": 20000}}}')
    places = ["--data-root", folder / "data", "--exec-root", folder / "exec", "--pidfile", folder / "pid"]
    socket = f"unix://{folder / 'socket'}"
    options = ["--iptables=false", "--ip6tables=false", "--bridge=none", "--config-file", config, *places, "-H", socket]
    environment = {**os.environ, "DOCKER_HOST": socket, "DOCKER_BUILDKIT": "0"}
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen(["dockerd", *map(str, options)], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 300
        while subprocess.run(["docker", "version"], env=environment, capture_output=True, check=False).returncode:
            if daemon.poll() is not None or time.monotonic() > deadline:
                pytest.skip(f"dockerd does not start here: {(folder / 'log').read_text()[-500:]}")
            time.sleep(0.5)
        yield Docker(environment)
    finally:
        daemon.terminate()  # it ends its containers and its own containerd
        daemon.wait(300)
        for mount in (folder / "exec" / "netns").glob("*"):  # the daemon leaves them
            subprocess.run(["umount", mount], check=False)
        shutil.rmtree(folder / "data", ignore_errors=True)


@pytest.fixture(scope="session")
def images(docker: Docker, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Role -> name of the image, built by `.ci/images` from a copy of the sources."""
    context = tmp_path_factory.mktemp("context")
    for name in ("mmgen", "pipelines", "components", ".ci"):
        shutil.copytree(ROOT / name, context / name)
    for name in ("gates.yaml", "constraints.txt", ".dockerignore"):
        shutil.copy(ROOT / name, context / name)
    lock = context / "components" / "requirements-gpu.txt"
    kept = [line for line in lock.read_text().splitlines(True) if not MOUNTED.fullmatch(line.partition("==")[0])]
    lock.write_text("".join(kept))
    with stand_in(tmp_path_factory.mktemp("base")).open("rb") as archive:
        docker("import", "-", BASE, stdin=archive)

    build = {**docker.environment, "BASE": BASE, "DEV": "1", "COMMIT": COMMIT}
    done = subprocess.run(
        [context / ".ci" / "images", "--network", "host"], env=build, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return {role: f"mmgen-python-{role}:{COMMIT[:12]}" for role in ("cpu", "gpu")}


def stand_in(folder: Path) -> Path:
    """An archive of Debian with its Python, which asks the same package index as this machine."""
    root, archive = folder / "root", folder / "base.tar"
    wanted = "python3,python3-pip,ca-certificates"
    done = subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={wanted}", "bookworm", root], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"debootstrap cannot make the stand-in base here: {done.stdout[-300:]!r}")
    lines = [f"{name[4:].lower().replace('_', '-')} = {os.environ[name]}" for name in SETTINGS if name in os.environ]
    if BUNDLE.is_file():
        shutil.copy(BUNDLE, root / BUNDLE.relative_to("/"))
        lines.append(f"cert = {BUNDLE}")
    (root / "etc" / "pip.conf").write_text("\n".join(["[global]", *lines, ""]))
    with tarfile.open(archive, "w") as tar:
        tar.add(root, ".")
    shutil.rmtree(root)
    return archive


@pytest.fixture(scope="session")
def torch_mounts() -> list[dict[str, Any]]:
    """This machine's torch and what it needs, where the gpu image would have them."""
    places = {
        Path(str(found.locate_file(file.parts[0])))
        for found in distributions()
        if MOUNTED.fullmatch(found.metadata["Name"].lower())
        for file in found.files or []
        if file.parts[0] != ".."
    }
    return [
        {"Type": "bind", "Source": str(place), "Target": f"/opt/site-gpu/{place.name}", "ReadOnly": True}
        for place in sorted(places)
    ]
