"""A whole run on this machine: what it leaves, and that a second one has nothing to do."""

from __future__ import annotations

import json
import shutil

import pytest

from mmgen.files import open_sealed
from mmgen.ops.runs.keys import STAGES
from tests.support.whole_run import WholeRun, mmgen

NAMES = (
    "image.r1_seen",
    "image.r5_seen",
    "image.r1_compositions",
    "image.r1_concepts",
    "image.kid",
    "image.fid",
    "text.exact_seen",
    "text.exact_compositions",
    "text.exact_concepts",
    "text.chrf_concepts",
    "codec.psnr",
    "judge.accuracy",
)


def test_every_stage_ran_and_the_untrained_model_was_kept_out(ran: WholeRun) -> None:
    assert ran.returncode == 30, ran.stderr
    assert list(ran.summary["stages"]) == list(STAGES)
    assert {stage["state"] for stage in ran.summary["stages"].values()} == {"ran"}
    assert ran.summary["gate"]["decision"] == "keep"
    assert ran.summary["gate"]["reasons"]


def test_the_summary_has_the_names_that_scripts_read(ran: WholeRun) -> None:
    assert set(ran.summary) == {
        "headline",
        "next",
        "run_key",
        "recipe",
        "data_version",
        "seconds",
        "stages",
        "metrics",
        "gate",
        "model",
        "report",
        "mlflow",
    }
    assert set(NAMES) <= set(ran.summary["metrics"])
    assert all(set(score) == {"value", "low", "high", "n"} for score in ran.summary["metrics"].values())
    assert set(ran.summary["model"]) == {"name", "version", "alias", "path"}
    assert ran.summary["model"]["alias"] == "challenger"
    assert all(ran.summary["mlflow"].values())


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_is_sealed_with_its_provenance(ran: WholeRun, stage: str) -> None:
    (folder,) = [path for path in (ran.root / "stages" / stage).iterdir() if path.is_dir()]

    seal = open_sealed(folder)

    assert seal["run_key"] == ran.summary["run_key"]
    assert seal["data_version"] == ran.summary["data_version"]


def test_progress_goes_to_stderr_in_few_plain_lines(ran: WholeRun) -> None:
    lines = ran.stderr.splitlines()

    assert [line.split() for line in lines if line.endswith("running")] == [[stage, "running"] for stage in STAGES]
    assert len(lines) < 40


def test_a_second_run_finds_everything_done_and_makes_no_new_version(ran: WholeRun) -> None:
    folders = sorted(path for path in (ran.root / "logs").iterdir())

    done = mmgen("run", "emoji", "--json", root=ran.root, data=ran.data, small=True)

    again = json.loads(done.stdout)
    assert done.returncode == 30
    assert {stage["state"] for stage in again["stages"].values()} == {"cached"}
    assert again["model"] == ran.summary["model"]
    assert again["mlflow"] == ran.summary["mlflow"]
    assert sorted(path for path in (ran.root / "logs").iterdir()) == folders  # no pipeline was started
    assert len(json.loads(mmgen("history", "--recipe", "emoji", "--json", root=ran.root).stdout)) == 1


def test_the_plan_says_what_would_run_and_why(ran: WholeRun) -> None:
    done = mmgen("plan", "emoji", "--json", "--set", "seed=5", root=ran.root, data=ran.data, small=True)

    stages = json.loads(done.stdout)["stages"]
    assert [stage for stage, entry in stages.items() if entry["done"]] == ["validate", "judge"]
    assert stages["train"]["reasons"] == ["seed: 0 -> 5"]


def test_the_plan_of_a_machine_without_data_says_so(ran: WholeRun) -> None:
    done = mmgen("plan", "emoji", root=ran.root, data=ran.root / "nothing")

    assert done.returncode == 0
    assert "data set 'emoji' is built first" in done.stdout


def test_the_summary_for_people_says_what_to_type_next(ran: WholeRun) -> None:
    done = mmgen("run", "emoji", root=ran.root, data=ran.data, small=True)

    assert "verdict" in done.stdout
    assert ran.summary["report"] in done.stdout
    assert "mmgen generate --recipe emoji --from text=" in done.stdout


def test_a_single_stage_gives_the_sealed_output_of_the_run(ran: WholeRun) -> None:
    out = ran.root.parent / "out"

    done = mmgen(
        "evaluate",
        "emoji",
        "--out",
        out / "scores",
        "--metrics",
        out / "flat.json",
        root=ran.root,
        data=ran.data,
        small=True,
    )
    curves = mmgen(
        "train",
        "emoji",
        "--out",
        out / "train",
        "--curves",
        out / "curves.json",
        root=ran.root,
        data=ran.data,
        small=True,
    )

    assert (done.returncode, curves.returncode) == (0, 0), done.stderr + curves.stderr
    open_sealed(out / "scores")
    assert (
        json.loads((out / "flat.json").read_text())["judge.accuracy"]
        == ran.summary["metrics"]["judge.accuracy"]["value"]
    )
    assert [row["step"] for row in json.loads((out / "curves.json").read_text())]


def test_an_output_is_never_written_over_a_folder_of_somebody(ran: WholeRun) -> None:
    mine = ran.root.parent / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("ten years of work")

    done = mmgen("judge", "emoji", "--out", mine, root=ran.root, data=ran.data, small=True)

    assert done.returncode == 10
    assert "is no output of a stage" in done.stderr
    assert (mine / "thesis.txt").read_text() == "ten years of work"
    shutil.rmtree(mine)
