"""One whole run of the pipeline, shared by the tests that look at what it left."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mmgen.ops.storage.locks import locked

ROOT = Path(__file__).resolve().parents[2]

SMALL = (
    "training.steps=4",
    "training.threads=1",
    "judge.steps=4",
    "evaluation.seen=50",
    "evaluation.resamples=20",
    "model.image_px=16",
    "model.components=32",
    "model.width=32",
    "model.depth=1",
    "model.head_width=64",
    "model.head_blocks=1",
)
"""The real recipe with every size cut down: it learns nothing, and takes every step that a real run takes."""


def small_params(seed: int = 0) -> str:
    """A params.yaml that makes the small recipe the default one; runs of another seed are other runs."""
    settings: dict[str, Any] = {"seed": seed}
    for setting in SMALL:
        name, _, value = setting.partition("=")
        section, _, field = name.partition(".")
        settings.setdefault(section, {})[field] = int(value)
    return yaml.safe_dump({"recipe": "emoji", "settings": settings})


CANARIES = {
    "AWS_ACCESS_KEY_ID": "AKIACANARYCANARYCAN7",
    "AWS_SECRET_ACCESS_KEY": "canary-of-the-object-store-8f2c",
    "AWS_SESSION_TOKEN": "canary-of-the-session-51ab",
    "MLFLOW_TRACKING_USERNAME": "canary-user-93d1",
    "MLFLOW_TRACKING_PASSWORD": "canary-of-the-tracker-c0de",
    "MLFLOW_TRACKING_TOKEN": "canary-of-the-token-77aa",
    "PGPASSWORD": "canary-of-the-database-1d5e",
    "KFP_CLIENT_SECRET": "canary-of-the-cluster-4b4b",
}
"""Secrets that the whole run has in its environment: none of them may turn up anywhere else."""


UNTOUCHED = "untouched"
"""Beside the root: its copy, at which no test asks anything."""


@dataclass(frozen=True)
class WholeRun:
    """What a run was given and what it answered."""

    root: Path
    data: Path
    returncode: int
    stderr: str
    summary: dict[str, Any]

    @property
    def settings(self) -> str:
        return "; ".join(SMALL)

    def copied(self, root: Path) -> Path:
        """A copy of the root as the run left it, for a test that changes it or may not see what others ask of it."""
        return Path(shutil.copytree(self.root.parent / UNTOUCHED, root))


def mmgen(
    *arguments: str | Path, root: Path | None = None, data: Path | None = None, small: bool = False
) -> subprocess.CompletedProcess[str]:
    """The real command line in a process of its own."""
    line = command(*arguments, root=root, data=data, small=small)
    return subprocess.run(line, **place(root or data or ROOT / "tests"), check=False, capture_output=True, text=True)


def command(
    *arguments: str | Path, root: Path | None = None, data: Path | None = None, small: bool = False
) -> list[str]:
    words = [sys.executable, "-m", "pipelines.cli", *map(str, arguments)]
    words += ["--root", str(root)] if root else []
    words += ["--data", str(data)] if data else []
    return words + [word for setting in SMALL if small for word in ("--set", setting)]


def place(folder: Path) -> dict[str, Any]:
    """Beside `folder`, where there is no params.yaml, and with an environment that names nothing of ours."""
    beside = next(path for path in folder.parents if path.is_dir())
    ours = ("MMGEN_", "MLFLOW_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    # The cache of downloaded packages stays found.
    wheels = os.environ.get("MMGEN_WHEELS", str(ROOT / ".cache" / "wheels"))
    environment |= {"PYTHONPATH": str(ROOT), "MMGEN_WHEELS": wheels}
    return {"cwd": beside, "env": environment, "preexec_fn": _interruptible}


def _interruptible() -> None:
    """Ctrl-C ends the child, even when the tests were started in the background, where shells switch it off."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@functools.cache
def whole_run(base: Path, dataset: Path) -> WholeRun:
    """Run the pipeline on a copy of `dataset` once a session; `base` is the folder of this process in it.

    Processes of pytest-xdist share the run: the first makes it, the others wait.
    """
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / "whole run of python3"  # KFP replaces this word where it can
    told = folder / "told.json"
    with locked(folder, wait=3600):
        if not told.is_file():
            _run_whole(folder, dataset, told)
    return WholeRun(folder / "runs", folder / "data", **json.loads(told.read_text()))


def _run_whole(folder: Path, dataset: Path, told: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(dataset, folder / "data" / "emoji")
    root = folder / "runs"
    line = command("run", "emoji", "--json", root=root, data=folder / "data", small=True)
    where = place(root)
    where["env"] |= CANARIES
    done = subprocess.run(line, **where, check=False, capture_output=True, text=True)
    shutil.copytree(root, folder / UNTOUCHED)
    summary = json.loads(done.stdout) if done.stdout else {}
    told.write_text(json.dumps({"returncode": done.returncode, "stderr": done.stderr, "summary": summary}))
