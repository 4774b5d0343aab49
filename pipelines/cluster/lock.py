"""Which packages each image holds: components/requirements-<target>.txt, a version and a sha256 a line.

    python -m pipelines.cluster.lock        write them again, after a change of constraints.txt or of this list

Versions are those of constraints.txt, hashes those that the package index states for wheels of this platform. Image
`gpu` is image `cpu` with more in it, so its file only has what is added.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.requirements import Requirement

from mmgen.files import write_bytes
from mmgen.ops.runs.keys import CODE, LOCK

WANTED = {
    "cpu": (
        "alembic",  # with sqlalchemy: MLflow's own database, where a run has no server
        "boto3",
        "docstring-parser",  # with pyyaml: what kfp needs in a task
        "great-expectations",
        "kfp",
        "mlflow-skinny",
        "numpy",
        "pandas",
        "pillow",
        "pyyaml",
        "rich",
        "safetensors",
        "sqlalchemy",
    ),
    "gpu": (
        "captum",
        "hama",
        "jiwer",
        "kubernetes",
        "matplotlib",
        "pyarrow",
        "sacrebleu",
        "scipy",
        "soundfile",
        "torch",
    ),
}
"""Target -> what its stages import."""

ALONE = frozenset({"kfp"})
"""Taken without what they require: a task runs KFP's executor, not its compiler and client."""
LEFT_OUT = frozenset({"setuptools"})
"""Not wanted at run time: torch requires it to build extensions."""


def path(target: str) -> Path:
    """The file of a target."""
    return CODE / "components" / f"requirements-{target}.txt"


def packages(target: str) -> dict[str, str]:
    """Name -> version of everything that the wheels of `target` add, as constraints.txt has them."""
    below = _closure(WANTED["cpu"]) if target != "cpu" else set()
    pinned = {_plain(name): version for name, version in _locked()}
    return {name: pinned[name] for name in sorted(_closure(WANTED[target]) - below)}


def write(target: str) -> None:
    """Write the file of `target` with the hashes that the package index states."""
    wanted = [f"{name}=={version}" for name, version in packages(target).items()]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        options = ["--quiet", "--dry-run", "--ignore-installed", "--no-deps", "--only-binary=:all:"]
        subprocess.run([sys.executable, "-m", "pip", "install", *options, "--report", str(report), *wanted], check=True)
        found = json.loads(report.read_text(encoding="utf-8"))["install"]
    lines = sorted(
        f"{_plain(entry['metadata']['name'])}=={entry['metadata']['version']} "
        f"--hash=sha256:{entry['download_info']['archive_info']['hashes']['sha256']}"
        for entry in found
    )
    about = (
        f"# What image {target} holds. Written by: python -m pipelines.cluster.lock. "
        "Wheels for Python 3.11 on Linux x86-64."
    )
    write_bytes(path(target), "\n".join([about, *lines, ""]).encode())


def _locked() -> list[tuple[str, str]]:
    lines = LOCK.read_text(encoding="utf-8").splitlines()
    return [(line.partition("==")[0], line.partition("==")[2]) for line in lines if "==" in line and line[0] != "#"]


def _closure(names: tuple[str, ...]) -> set[str]:
    """`names` and all that they require on this platform."""
    found: set[str] = set()
    seen: set[tuple[str, str]] = set()
    queue = [(name, "") for name in names]
    while queue:
        name, extra = queue.pop()
        if (name, extra) in seen or name in LEFT_OUT:
            continue
        seen.add((name, extra))
        found.add(name)
        for text in [] if name in ALONE else importlib.metadata.requires(name) or []:
            wanted = Requirement(text)
            if wanted.marker is None or wanted.marker.evaluate({"extra": extra}):
                queue += [(_plain(wanted.name), more) for more in ("", *wanted.extras)]
    return found


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    for each in WANTED:
        write(each)
