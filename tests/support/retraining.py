"""A team's repository with data under DVC, and CI jobs that check its commits out: real git, DVC and processes."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mmgen.data.dataset import load
from mmgen.data.shards import Sample
from mmgen.files import write_bytes, write_json
from mmgen.ops.runs.cache import run_stage
from mmgen.ops.runs.keys import STAGES
from mmgen.ops.runs.run import Run
from tests.conftest import rewrite
from tests.support.observer import HEAVY, Observer
from tests.support.runs import fill_gate
from tests.support.whole_run import ROOT, place, small_params

PERSON = {f"GIT_{who}_{what}": "team" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
EASY = {
    "default": {"level": 0.95, "resamples": 1000, "seed": 0, "rounds": 1, "metrics": {}},
    "emoji": {"metrics": {"codec.psnr": {"direction": "higher", "floor": 0}}},
}
"""Rules that a model which has learned nothing can meet."""


@dataclass(frozen=True)
class Job:
    """What a CI job answered."""

    returncode: int
    stderr: str
    did: Observer
    facts: dict[str, Any]
    comment: str
    out: Path

    def assert_it_only_looked(self) -> None:
        """It fetched data and asked git; it started no stage, and imported nothing that a stage needs."""
        assert not self.did.imported & HEAVY
        assert [line for line in self.did.started if " -m dvc pull " in line]
        assert [line for line in self.did.started if "python" in line and " -m dvc " not in line] == []


class Team:
    """The repository, the DVC remote, and the root that all jobs share."""

    def __init__(self, folder: Path, dataset: Path, remote: dict[str, str] | None = None) -> None:
        self.folder, self.root = folder, folder / "root"
        self.clone = folder / "team"
        self._jobs = 0
        shutil.copytree(dataset, self.clone / "data" / "emoji")
        for name in ("mmgen", "components", "pipelines"):
            shutil.copytree(ROOT / name, self.clone / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in (".dvcignore", ".gitignore"):
            shutil.copy(ROOT / name, self.clone / name)
        (self.clone / "gates.yaml").write_text(yaml.safe_dump(EASY))
        (self.clone / "params.yaml").write_text(small_params())
        (self.clone / "data.dvc").write_text("outs:\n- path: data/emoji\n")
        settings = remote or {"url": str(folder / "remote")}
        lines = [*(f"    {name} = {value}" for name, value in settings.items()), "    verify = true"]
        (self.clone / ".dvc").mkdir()
        (self.clone / ".dvc" / "config").write_text(
            "\n".join(["[core]", "    remote = team", "['remote \"team\"']", *lines])
        )
        (self.clone / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
        self.run("git", "init", "-q", "-b", "main")
        self.keep("first data")

    def change(self, edit: Callable[[dict[str, list[Sample]]], None], message: str) -> None:
        """Change the samples as a data engineer does: new shards, `dvc commit`, `dvc push`, a commit."""
        dataset = load(self.clone / "data" / "emoji")
        splits = {split: dataset.split(split) for split in dataset.card.splits}
        edit(splits)
        shutil.rmtree(dataset.folder)
        rewrite(dataset.folder, dataset.card, splits)
        self.keep(message)

    def keep(self, message: str) -> None:
        """Commit and push what lies in the working folder."""
        self.run(sys.executable, "-m", "dvc", "commit", "-q", "-f", "data.dvc")
        self.run(sys.executable, "-m", "dvc", "push", "-q")
        self.run("git", "add", "--all")
        self.run("git", "commit", "-q", "-m", message)

    def run(self, *line: str) -> str:
        done = subprocess.run(
            line, cwd=self.clone, env=self._environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def checkout(self) -> Path:
        """A fresh clone, as a CI job has it: without data."""
        self._jobs += 1
        folder = self.folder / f"job-{self._jobs}"
        self.run("git", "clone", "-q", str(self.clone), str(folder))
        return folder

    def start(self, *arguments: str, **environment: str) -> Callable[[], Job]:
        """Start `mmgen retrain` in a fresh clone; call the answer to wait for its end."""
        folder = self.checkout()
        observer = Observer(self.folder / f"observer-{self._jobs}")
        line = [sys.executable, "-m", "pipelines.cli", "retrain", "--out", "out", *arguments]
        where = observer.environment(str(folder)) | {"MMGEN_ROOT": str(self.root), **environment}
        child = subprocess.Popen(
            line,
            cwd=folder,
            env=self._environment() | where,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )

        def wait() -> Job:
            _, stderr = child.communicate(timeout=3600)
            facts = json.loads((folder / "out" / "retrain.json").read_text())
            comment = (folder / "out" / "comment.md").read_text()
            return Job(child.returncode, stderr, observer, facts, comment, folder / "out")

        return wait

    def job(self, *arguments: str, **environment: str) -> Job:
        return self.start(*arguments, **environment)()

    def verb(self, *arguments: str) -> Any:
        """The JSON that a verb of the command line answers about the shared root."""
        where = {"MMGEN_ROOT": str(self.root), "PYTHONPATH": str(self.clone)}
        line = [sys.executable, "-m", "pipelines.cli", *arguments, "--json"]
        done = subprocess.run(
            line, cwd=self.clone, env=self._environment() | where, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def champion(self) -> str | None:
        """Version that applications load."""
        holders = [version["version"] for version in self.verb("history") if "champion" in version["aliases"]]
        return holders[0] if holders else None

    def _environment(self) -> dict[str, str]:
        environment: dict[str, str] = place(self.folder / "root")["env"]
        return {name: value for name, value in environment.items() if not name.startswith("KFP_")} | {
            **PERSON,
            "DVC_NO_ANALYTICS": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
        }


def cpu_seconds() -> float:
    """Of all processes that have ended below this one."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def seal_all(run: Run, decision: str = "keep") -> None:
    """Every stage of a run, sealed, with made-up numbers: nothing of it is left to do."""
    score = {"value": 0.5, "low": 0.25, "high": 0.75, "n": 40}

    def evaluate(out: Path) -> None:
        write_json(out / "metrics.json", {"image.r1_seen": score})
        section = {"sheet": "pictures.png", "tiles": [{"title": "red heart"}]}
        shown = {"headline": [["image.r1_seen", "drawn right"]], "pairs": [["text", "image"]], "sections": [section]}
        write_json(out / "examples.json", shown)
        write_bytes(out / "pictures.png", b"a picture")

    def gate(out: Path) -> None:
        fill_gate(out, decision)
        write_bytes(out / "verdict.md", f"## Gate: {decision}\n".encode())

    def register(out: Path) -> None:
        write_json(out / "model.json", {"name": "mmgen-emoji", "version": "1", "aliases": [], "decision": decision})
        write_json(out / "mlflow.json", {"experiment_id": "1", "run_id": "none"})

    def report(out: Path) -> None:
        write_bytes(out / "report.html", b"<html>")

    work = {"evaluate": evaluate, "gate": gate, "register": register, "report": report}
    for stage in STAGES:
        run_stage(stage, run.keys.stages[stage], run.root, work.get(stage, lambda out: None), facts=run.facts(stage))
