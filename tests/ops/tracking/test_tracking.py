"""What MLflow holds of a run, and what happens when there is no MLflow."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mmgen.errors import DataError, TrackingError
from mmgen.files import write_json
from mmgen.ops.runs.ledger import cost
from mmgen.ops.runs.run import Run
from mmgen.ops.stages.stage import make
from mmgen.ops.tracking.client import connected, redacted, tracking_uri
from mmgen.ops.tracking.stage_run import stage_run
from mmgen.progress import Progress
from tests.support.runs import fill_train, small_run

REPOSITORY = Path(__file__).resolve().parents[3]
SLEEPER = """
import sys, time
from pathlib import Path
from mmgen.ops.tracking.stage_run import stage_run
from tests.support.runs import small_run

out = Path(sys.argv[1]) / "out"
out.mkdir()
with stage_run(small_run(Path(sys.argv[1])), "train", out) as tracked:
    (out / "metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\\n{"step": 2, "lo')
    while not tracked.run_id:
        time.sleep(0.05)
    print("started", flush=True)
    time.sleep(60)
"""


def record(run: Run, stage: str, tmp_path: Path, **how: str) -> tuple[str, str]:
    """Record a training; ids of the parent and of the child run."""
    out = tmp_path / f"{stage}-{time.monotonic_ns()}"
    out.mkdir()
    with stage_run(run, stage, out, **how) as tracked:
        fill_train(out)
    return tracked.parent_id, tracked.run_id


def fetch(root: Path, run_id: str) -> Any:
    with connected(tracking_uri(root)) as client:
        return client.get_run(run_id)


def all_runs(root: Path) -> list[Any]:
    with connected(tracking_uri(root)) as client:
        found: list[Any] = client.search_runs([entry.experiment_id for entry in client.search_experiments()])
        return found


def test_a_stage_is_a_child_of_the_run_with_params_data_set_and_tags(root: Path, tmp_path: Path) -> None:
    run = small_run(root)
    parent_id, child_id = record(run, "train", tmp_path, kfp_run_id="kfp-1234")

    parent, child = fetch(root, parent_id), fetch(root, child_id)

    assert child.data.tags["mlflow.parentRunId"] == parent_id
    assert (child.info.status, parent.info.status) == ("FINISHED", "RUNNING")
    assert parent.data.params["training.steps"] == "3000"
    assert parent.data.params["model.width"] == "8"
    assert parent.data.params["seed"] == "0"
    data = parent.inputs.dataset_inputs[0].dataset
    assert (data.name, data.digest) == ("emoji", run.data_version)
    for found in (parent, child):
        tags = {name: found.data.tags[f"mmgen.{name}"] for name in ("run_key", "git_commit", "git_dirty", "kfp_run_id")}
        assert tags == {
            "run_key": run.keys.run_key,
            "git_commit": run.git_commit,
            "git_dirty": "false",
            "kfp_run_id": "kfp-1234",
        }
        assert len(found.data.tags["mmgen.model_sha256"]) == 64
    with connected(tracking_uri(root)) as client:
        assert client.get_experiment(parent.info.experiment_id).name == "mmgen/emoji"


def test_curves_images_and_pages_are_logged(root: Path, tmp_path: Path) -> None:
    run = small_run(root)
    with stage_run(run, "train", tmp_path) as tracked:
        fill_train(tmp_path, steps=1200)
        (tmp_path / "page.html").write_text("<p>page</p>")
        (tmp_path / "link.html").symlink_to("/etc/hostname")

    with connected(tracking_uri(root)) as client:
        losses = client.get_metric_history(tracked.run_id, "loss")
        files = {entry.path for entry in client.list_artifacts(tracked.run_id)}
        images = [entry.path for entry in client.list_artifacts(tracked.run_id, "images")]
    assert [(metric.step, metric.value) for metric in losses] == [(step, 1 / step) for step in range(1, 1201)]
    assert files == {"page.html", "images"}
    assert {name.split("+")[2] for name in images if name.endswith(".png")} == {"500", "1000"}


def test_scores_have_their_interval_and_stand_in_the_run_too(root: Path, tmp_path: Path) -> None:
    with stage_run(small_run(root), "evaluate", tmp_path) as tracked:
        write_json(tmp_path / "metrics.json", {"image.r1_seen": {"value": 0.8, "low": 0.7, "high": 0.9, "n": 600}})

    for run_id in (tracked.run_id, tracked.parent_id):
        assert fetch(root, run_id).data.metrics == {
            "image.r1_seen": 0.8,
            "image.r1_seen_low": 0.7,
            "image.r1_seen_high": 0.9,
            "image.r1_seen_n": 600,
        }


def test_what_a_run_has_cost_stands_beside_its_scores(root: Path) -> None:
    run = small_run(root)

    make(run, "train", Progress(), "", lambda out, _: fill_train(out))

    parent = next(found for found in all_runs(root) if found.data.tags["mmgen.stage"] == "all")
    assert parent.data.metrics["cost.attempts"] == 1
    assert parent.data.metrics["cost.seconds"] == pytest.approx(cost(run).seconds, abs=5)
    assert parent.data.metrics["cost.gpu_seconds"] == 0


def test_stages_of_one_run_share_a_parent_and_the_last_one_ends_it(root: Path, tmp_path: Path) -> None:
    run = small_run(root)

    parents = {record(run, stage, tmp_path)[0] for stage in ("validate", "train", "report")}

    assert len(parents) == 1
    assert fetch(root, parents.pop()).info.status == "FINISHED"
    assert len(all_runs(root)) == 4
    assert record(small_run(root, 2), "train", tmp_path)[0] not in parents


def test_a_failed_stage_is_failed_and_what_it_left_is_logged(root: Path, tmp_path: Path) -> None:
    (tmp_path / "validation.html").write_text("3 rows are bad")
    with pytest.raises(DataError), stage_run(small_run(root), "validate", tmp_path) as tracked:
        raise DataError("3 rows are bad")

    assert fetch(root, tracked.run_id).info.status == "FAILED"
    assert fetch(root, tracked.parent_id).info.status == "FAILED"
    with connected(tracking_uri(root)) as client:
        assert [entry.path for entry in client.list_artifacts(tracked.run_id)] == ["validation.html"]


def test_ctrl_c_is_killed(root: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), stage_run(small_run(root), "train", tmp_path) as tracked:
        raise KeyboardInterrupt

    assert fetch(root, tracked.run_id).info.status == "KILLED"


@pytest.mark.parametrize(
    ("number", "code", "status"), [(signal.SIGTERM, 143, "KILLED"), (signal.SIGKILL, -9, "RUNNING")]
)
def test_a_killed_stage_is_closed_by_itself_or_by_the_next_try(
    root: Path, tmp_path: Path, number: int, code: int, status: str
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SLEEPER, str(root)], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "started\n"
        child.send_signal(number)
    assert child.returncode == code
    stopped = next(found for found in all_runs(root) if found.data.tags["mmgen.stage"] == "train")
    assert stopped.info.status == status
    assert ("loss" in stopped.data.metrics) == (status == "KILLED")

    _, again = record(small_run(root), "train", tmp_path)

    states = {found.info.run_id: found.info.status for found in all_runs(root)}
    assert states[stopped.info.run_id] == "KILLED"
    assert states[again] == "FINISHED"


def test_a_run_that_kubeflow_made_is_joined_and_not_ended(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connected(tracking_uri(root)) as client:
        theirs = client.create_run(client.create_experiment("theirs", artifact_location=tmp_path.as_uri())).info
    monkeypatch.setenv("MLFLOW_RUN_ID", theirs.run_id)

    parent_id, child_id = record(small_run(root), "report", tmp_path)

    assert parent_id == theirs.run_id
    assert fetch(root, parent_id).info.status == "RUNNING"
    assert fetch(root, parent_id).data.tags["mmgen.run_key"] == small_run(root).keys.run_key
    assert fetch(root, child_id).info.experiment_id == theirs.experiment_id


@pytest.mark.timeout(300)
def test_a_dead_server_costs_a_warning_and_not_the_work(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ann:s3cret@127.0.0.1:{unused.getsockname()[1]}")

        _, child_id = record(small_run(root), "train", tmp_path)

    said = capsys.readouterr().err
    assert child_id == ""
    assert said.count("mmgen: warning: MLflow at http://***@127.0.0.1") == said.count("\n") == 1
    assert "s3cret" not in said


def test_a_server_that_dies_during_the_stage_costs_a_warning_and_not_the_work(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with stage_run(small_run(root), "train", tmp_path) as tracked:
        while not tracked.run_id:  # a database that is made later would be whole
            time.sleep(0.05)
        (root / "mlflow.db").write_bytes(b"no database any more" * 100)

    assert "mmgen: warning: MLflow at sqlite:" in capsys.readouterr().err


def test_an_error_of_the_work_is_not_hidden_by_a_dead_tracker(root: Path, tmp_path: Path) -> None:
    def work() -> None:
        with stage_run(small_run(root), "train", tmp_path):
            (root / "mlflow.db").write_bytes(b"no database any more" * 100)
            raise DataError("3 rows are bad")

    with pytest.raises(DataError, match="3 rows are bad"):
        work()


@pytest.mark.parametrize(
    "uri", ["https://ann:s3cret@mlflow.example.org", "https://ann:s3cr%65t@x/y", "https://mlflow.example.org"]
)
def test_no_message_holds_a_password(uri: str) -> None:
    assert "s3cret" not in redacted(uri)
    with pytest.raises(TrackingError) as caught, connected(uri):
        raise OSError(f"cannot reach {uri}" + (" with s3cret" if "ann" in uri else "\nmore"))

    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "cannot reach" in str(caught.value)


def test_a_password_from_the_environment_is_in_no_message(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cret")

    with pytest.raises(TrackingError, match=r"token \*\*\* refused"), connected(tracking_uri(root)):
        raise OSError("token s3cret refused")


def test_a_new_database_appears_whole(tmp_path: Path) -> None:
    with connected(tracking_uri(tmp_path / "new")) as client:
        assert client.search_experiments()

    assert [path.name for path in (tmp_path / "new").iterdir()] == ["mlflow.db"]
