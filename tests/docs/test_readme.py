"""README and CONTRIBUTING say what is so: commands run, names exist, links lead somewhere."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mmgen import recipes
from mmgen.data.corpus import load_corpus
from mmgen.ops.runs.keys import STAGES
from tests.docs.test_data_page import write_photos
from tests.support.whole_run import ROOT, WholeRun, place, small_params, whole_run

README = (ROOT / "README.md").read_text()
COMMANDS = [
    line.removeprefix("$ ").split("  #")[0].strip()
    for block in re.findall(r"```console\n(.*?)```", README, re.S)
    for line in block.splitlines()
    if line.startswith("$ ")
]
VERBS = [line for line in COMMANDS if line.startswith(".venv/bin/mmgen ")]
# Servers that run until they are stopped have tests of their own.
QUICK = [line for line in VERBS if line not in (".venv/bin/mmgen ui", ".venv/bin/mmgen serve")]


@pytest.fixture(scope="module")
def clone(tiny_emoji: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as README leaves it after `make run`, at small sizes: params.yaml cuts the default recipe down."""
    ran: WholeRun = whole_run(tmp_path_factory.getbasetemp(), tiny_emoji)
    folder = tmp_path_factory.mktemp("readme")
    ran.copied(folder / "runs")
    shutil.copytree(ran.data, folder / "data")
    shutil.copytree(ROOT / "pipelines" / "compiled", folder / "pipelines" / "compiled")
    (folder / "params.yaml").write_text(small_params())
    corpus = load_corpus(tiny_emoji, "train")
    write_photos(folder / "photos", list(zip(corpus.captions("en"), corpus.images(64), strict=True)) * 2)
    shutil.rmtree(folder / "runs" / "kfp", ignore_errors=True)
    database = folder / "runs" / "mlflow.db"
    database.unlink()  # it names the folders of the run that it was made by; a run on the copy makes its own
    shutil.rmtree(folder / "runs" / "stages" / "register")
    shutil.rmtree(folder / "runs" / "stages" / "report")
    return folder


def run(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "pipelines.cli", *shlex.split(line)[1:]]
    environment = place(folder / "runs")["env"]
    return subprocess.run(words, cwd=folder, env=environment, check=False, capture_output=True, text=True)


@pytest.mark.slow
def test_every_command_on_the_page_runs_in_the_order_in_which_it_stands(clone: Path) -> None:
    first = run(clone, ".venv/bin/mmgen run")
    assert first.returncode == 30, first.stderr  # the small model learns nothing, so the gate keeps it out
    promoted = run(clone, ".venv/bin/mmgen promote 1 --approve")
    assert promoted.returncode == 0, promoted.stderr

    for line in QUICK:
        # The lesser runs of the page are made small as well; what they need is no more than README says.
        done = run(clone, line)
        allowed = {0, 30} if shlex.split(line)[1] == "run" else {0, 10} if line.endswith("doctor") else {0}
        assert done.returncode in allowed, f"{line}\n{done.stdout}\n{done.stderr}"
    assert (clone / "heart.png").is_file()


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("make ")])
def test_make_knows_its_verbs(line: str) -> None:
    done = subprocess.run(["make", "-n", line.split()[1]], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", ["README.md", "docs/data.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_links_and_paths_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    paths = re.findall(r"`((?:mmgen|components|pipelines|docs|tests)/[\w./]+)`", text)

    missing = [target for target in targets + paths if not (ROOT / target).exists()]

    assert not missing


def test_the_diagram_names_every_stage_and_the_page_names_every_recipe() -> None:
    diagram = README.split("## How it works")[1].split("```")[1]

    assert not [stage for stage in STAGES if stage not in diagram]
    assert not [name for name in recipes.NAMES if name not in README]


def test_the_page_hides_no_placeholder() -> None:
    assert "<!--" not in README
    assert os.fspath(ROOT) not in README
