"""Retraining by CI: nothing runs when nothing has changed, jobs of one commit wait for each other.

The play with a real retraining takes minutes and lies in `tests/faults/test_retraining_faults.py`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from mmgen.errors import StorageError
from mmgen.ops.runs.run import open_run
from mmgen.ops.storage.locks import locked
from mmgen.ops.validation.data_pin import pull
from mmgen.progress import Progress
from pipelines.choices import chosen
from pipelines.cli.main import cli
from pipelines.retraining.comment import write
from pipelines.retraining.retrain import Outcome, retrain
from tests.support.retraining import Team, seal_all
from tests.support.runs import small_run
from tests.support.whole_run import ROOT, SMALL

WORKFLOW = ROOT / ".github" / "workflows" / "retrain.yml"


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KFP_ENDPOINT", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)


def test_nothing_changed_so_the_data_are_fetched_and_no_stage_is_started_or_imported(
    tiny_emoji: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    team = Team(tmp_path, tiny_emoji)
    monkeypatch.chdir(team.clone)
    seal_all(open_run(*chosen(None, ()), team.root, Path("data"), team.clone / "gates.yaml"))

    job = team.job("--files-url", "https://ci.example.org/7")

    assert (job.returncode, job.facts["state"], job.facts["decision"]) == (30, "nothing", "keep"), job.stderr
    job.assert_it_only_looked()
    assert not (team.root / "logs").exists()  # no pipeline was started
    assert "Nothing ran." in job.comment
    assert "| image.r1_seen | 0.500 | 0.250 to 0.750 | 40 |" in job.comment
    assert "### Gate: keep" in job.comment
    assert "`report.html`, `samples.png`, [kept by this job](https://ci.example.org/7)" in job.comment
    assert (job.out / "samples.png").read_bytes() == b"a picture"


def test_a_job_waits_for_another_one_of_the_same_commit_and_then_has_nothing_to_do(
    tiny_emoji: Path, tmp_path: Path
) -> None:
    root = tmp_path / "runs"
    run = open_run("emoji", SMALL, root, tiny_emoji.parent)
    done: list[Outcome] = []

    def second() -> None:
        done.append(retrain("emoji", SMALL, root, tiny_emoji.parent, Progress(), promote=False))

    with locked(root / "retrain" / run.keys.run_key, 0):
        job = threading.Thread(target=second)
        job.start()
        job.join(1.5)
        assert job.is_alive()
        seal_all(run)
    job.join(600)

    assert done[0].state == "nothing"
    assert not (root / "logs").exists()


def test_data_that_are_not_the_pinned_version_and_cannot_be_fetched_stop_the_job(
    tiny_emoji: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_emoji, tmp_path / "data" / "emoji")
    (tmp_path / "data.dvc").write_text(f"outs:\n- {{path: data/emoji, md5: {'0' * 32}.dir, hash: md5}}\n")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(StorageError, match=f"version {'0' * 32}.dir of data.dvc .*dvc push"):
        pull(Path("data/emoji"))


def test_what_bad_samples_say_cannot_mention_link_or_break_the_comment(tmp_path: Path) -> None:
    hostile = "`@everyone` <img src=x onerror=y>\n## [click](https://evil.example.org)\x1b[31m"
    broken = {
        "name": "text_readable",
        "says": "clean text",
        "unexpected": 7,
        "rows": [hostile] * 7,
        "reasons": [hostile] * 7,
    }
    outcome = Outcome(
        recipe="emoji",
        state="refused",
        exit_code=20,
        seconds=1.0,
        run=small_run(tmp_path),
        problem="stage validate: refused",
        broken=(broken,),
    )

    text = write(outcome, tmp_path / "out", "").read_text()

    assert "## Retraining of `emoji`: stopped, the data are refused" in text
    assert "- **text_readable**: clean text; 7 do not:" in text
    assert text.count("everyone") == 10  # five samples with their reasons
    outside = re.sub(r"`[^`\n]*`", "", text)
    assert "everyone" not in outside
    assert "evil" not in outside
    assert "\x1b" not in text


def workflow() -> dict[Any, Any]:
    content: dict[Any, Any] = yaml.safe_load(WORKFLOW.read_text())
    return content


def test_the_workflow_is_one_that_github_takes() -> None:
    tool = Path(sys.executable).with_name("check-jsonschema")
    if not tool.is_file():
        pytest.skip("check-jsonschema is not installed")

    done = subprocess.run(
        [tool, "--builtin-schema", "vendor.github-workflows", WORKFLOW], check=False, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_workflow_gives_no_script_anothers_text_and_no_job_more_than_it_needs() -> None:
    jobs = workflow()["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"]]

    assert workflow()["permissions"] == {}
    assert all("${{" not in step.get("run", "") for step in steps)  # values come by environment only
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", step["uses"]) for step in steps if "uses" in step)
    assert {name: job["permissions"] for name, job in jobs.items()} == {
        "retrain": {"contents": "read"},
        "comment": {"actions": "read", "pull-requests": "write"},
        "promote": {"contents": "read"},
    }
    assert all("secrets." not in str(job["env"]) for job in jobs.values() if "env" in job)  # a step at a time
    assert "secrets." not in str(jobs["comment"])  # it handles what the code of a pull request wrote
    assert all(step["with"]["persist-credentials"] is False for step in steps if "checkout" in step.get("uses", ""))


def test_the_workflow_promotes_only_on_main_with_approval_and_never_in_a_pull_request() -> None:
    on, jobs = workflow()[True], workflow()["jobs"]  # YAML reads the word on as true

    assert set(on) == {"push", "pull_request"}
    assert on["push"]["branches"] == ["main"]
    assert on["push"]["paths"] == on["pull_request"]["paths"]
    assert {"data.dvc", "dvc.lock", "params.yaml"} <= set(on["push"]["paths"])
    assert "github.event.pull_request.head.repo.full_name == github.repository" in jobs["retrain"]["if"]
    assert jobs["promote"]["environment"] == "production"
    assert "github.event_name == 'push'" in jobs["promote"]["if"]
    promoting = [name for name, job in jobs.items() if "mmgen promote" in str(job["steps"])]
    retraining = [step["run"] for step in jobs["retrain"]["steps"] if "mmgen retrain" in step.get("run", "")]
    assert promoting == ["promote"]
    assert all("--no-promote" in script for script in retraining)


def test_every_mmgen_command_of_the_workflow_is_one_that_there_is() -> None:
    scripts = "\n".join(step.get("run", "") for job in workflow()["jobs"].values() for step in job["steps"])
    commands = re.findall(r"\.venv/bin/mmgen ([^|\n]+)", scripts)

    assert len(commands) == 2
    for line in commands:
        verb, *words = line.split()
        shown = CliRunner().invoke(cli, [verb, "--help"]).output
        assert all(word in shown for word in words if word.startswith("--")), line
