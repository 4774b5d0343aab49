"""The same stages by DVC: `dvc repro` finds what the pipeline has sealed, and DVC reads the scores and curves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.whole_run import ROOT, WholeRun, place, small_params


def dvc(folder: Path, *arguments: str) -> str:
    environment = place(folder / "runs")["env"] | {"DVC_NO_ANALYTICS": "1", "MMGEN_ROOT": os.environ["MMGEN_ROOT"]}
    environment["PATH"] = f"{folder / 'bin'}{os.pathsep}{environment['PATH']}"
    # As its own script says: the package has no __main__.
    line = [sys.executable, "-c", "import sys; from dvc.cli import main; sys.exit(main())", *arguments]
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def clone(ran: WholeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What DVC needs of a clone, with the small recipe as the default one and the whole run's sealed stages."""
    folder = tmp_path / "clone"
    shutil.copytree(ran.data, folder / "data")
    for name in ("mmgen", "components", "pipelines"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore", "gates.yaml"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "params.yaml").write_text(small_params())
    (folder / "bin").mkdir()
    (folder / "bin" / "mmgen").write_text(f'#!/bin/sh\nexec {sys.executable} -m pipelines.cli "$@"\n')
    (folder / "bin" / "mmgen").chmod(0o755)
    monkeypatch.setenv("MMGEN_ROOT", str(ran.root))
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    dvc(folder, "init", "-q")
    return folder


@pytest.mark.slow
def test_repro_takes_the_sealed_stages_and_dvc_shows_scores_and_curves(clone: Path, ran: WholeRun) -> None:
    dvc(clone, "repro")

    shown = json.loads(dvc(clone, "metrics", "show", "--json"))[""]["data"]["runs/dvc/metrics.json"]["data"]
    assert shown["judge.accuracy"] == ran.summary["metrics"]["judge.accuracy"]["value"]
    assert json.loads((clone / "runs" / "dvc" / "curves.json").read_text())
    assert "up to date" in dvc(clone, "status")
    assert "index.html" in dvc(clone, "plots", "show")
