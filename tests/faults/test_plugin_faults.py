"""Kubeflow's MLflow plugin: its runs and ours belong together, whichever server it points at. The server is real."""

from __future__ import annotations

import ast
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from mmgen.ops.registry.registration import register
from mmgen.ops.registry.registry import fetch, history
from mmgen.ops.runs.keys import flatten
from mmgen.ops.runs.run import Run
from mmgen.ops.tracking import outbox
from mmgen.ops.tracking.dead_runs import reap
from mmgen.ops.tracking.stage_run import stage_run
from mmgen.recipes import describe
from tests.faults.test_tracker_faults import run, train, trainer
from tests.ops.conftest import own_tracker
from tests.support.cluster.kubeflow_plugin import PluginRun, create
from tests.support.mlflow_server import MlflowServer, running_server
from tests.support.runs import make_trained, small_run

__all__ = ["own_tracker", "run", "running_server"]

NAME = "mmgen-emoji"
COMPONENTS = Path(__file__).resolve().parents[2] / "components"


@pytest.fixture
def client(running_server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """Of our server, which tasks know by the settings of the cluster."""
    monkeypatch.setenv("MMGEN_TRACKING_URI", running_server.uri)
    return MlflowClient(running_server.uri, running_server.uri)


@pytest.fixture
def plugin(running_server: MlflowServer, client: MlflowClient, run: Run) -> PluginRun:
    """A run of Kubeflow's, whose plugin knows our server by another of its names."""
    return create(running_server.uri.replace("127.0.0.1", "localhost"), f"kfp-{run.keys.run_key}")


def inject(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def ours(client: MlflowClient, run: Run, stage: str) -> list[Any]:
    """Runs of this run key in our own experiment: `all` for the whole run, else of a stage."""
    experiment = client.get_experiment_by_name("mmgen/emoji")
    query = f"tags.`mmgen.run_key` = '{run.keys.run_key}' and tags.`mmgen.stage` = '{stage}'"
    return list(client.search_runs([experiment.experiment_id], query)) if experiment else []


def steps(client: MlflowClient, run_id: str, name: str = "loss") -> list[int]:
    return sorted(metric.step for metric in client.get_metric_history(run_id, name))


def page(run: Any) -> str:
    return f"(#/experiments/{run.info.experiment_id}/runs/{run.info.run_id})"


def test_a_stage_is_the_run_of_its_task_and_both_pages_lead_to_each_other(
    client: MlflowClient, plugin: PluginRun, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_run = plugin.drive("train")
    inject(monkeypatch, plugin.environment(task_run))

    train(run)

    task = client.get_run(task_run)
    assert task.info.status == "RUNNING"  # the launcher's to end
    assert steps(client, task_run) == list(range(1, 41))
    assert task.data.metrics["r1"] == 0.5
    assert task.data.params["training.steps"] == "3000"
    images = [Path(entry.path).name for entry in client.list_artifacts(task_run, "images")]
    assert sorted(name.split("+")[2] for name in images if name.endswith(".png")) == ["1000", "500"]
    assert (task.data.tags["mmgen.stage"], task.data.tags["mmgen.key"]) == ("train", run.keys.stages["train"])
    assert task.data.tags["mlflow.parentRunId"] == plugin.root
    assert ours(client, run, "train") == []

    (parent,), root = ours(client, run, "all"), client.get_run(plugin.root)
    assert parent.data.metrics["r1"] == 0.5
    assert parent.data.params["training.steps"] == "3000"
    assert "mlflow.parentRunId" not in parent.data.tags
    assert root.data.tags["mmgen.run_id"] == task.data.tags["mmgen.run_id"] == parent.info.run_id
    assert parent.data.tags["kfp.mlflow_root_run_id"] == plugin.root
    assert parent.data.tags["kfp.pipeline_run_id"] == plugin.kfp_run
    assert parent.data.tags["kfp.pipeline_run_url"] == root.data.tags["kfp.pipeline_run_url"]
    assert page(parent) in root.data.tags["mlflow.note.content"]
    assert page(root) in parent.data.tags["mlflow.note.content"]
    assert f"({root.data.tags['kfp.pipeline_run_url']})" in parent.data.tags["mlflow.note.content"]

    given = {"recipe": "emoji", "settings": "", "root": "s3://mmgen/runs", "data": "s3://mmgen/data", "kfp_run": "1"}
    assert plugin.launched(task_run, {"steps": 40, "loss": 0.025}, given, "FINISHED")
    plugin.end("FINISHED")
    reap(run.root, stale=-1, watch=0)
    assert {client.get_run(each).info.status for each in (task_run, plugin.root)} == {"FINISHED"}
    assert client.get_run(task_run).data.metrics["loss"] == 1 / 40  # not the plugin's, which has no step and no time


def test_what_the_plugin_logs_of_a_task_collides_with_nothing_of_ours(tmp_path: Path) -> None:
    """MLflow refuses all that the plugin says of a task when one of its params is there with another value."""
    ours = set(flatten(describe(small_run(tmp_path).recipe)))
    taken = set()
    for path in COMPONENTS.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                taken |= {argument.arg for argument in node.args.args}

    assert {"recipe", "settings"} <= taken
    assert not ours & taken


def test_a_run_key_has_one_run_and_every_run_of_kubeflow_leads_to_it(
    client: MlflowClient, plugin: PluginRun, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = create(plugin.server, f"{plugin.kfp_run}-again")
    runs = {}
    for each, stage in ((plugin, "validate"), (second, "train"), (second, "report")):
        runs[stage] = each.drive(stage)
        inject(monkeypatch, each.environment(runs[stage]))
        out = run.root / stage
        out.mkdir(parents=True)
        with stage_run(run, stage, out):
            pass

    (parent,) = ours(client, run, "all")
    assert parent.info.status == "FINISHED"
    for each in (plugin, second):
        root = client.get_run(each.root)
        assert root.data.tags["mmgen.run_id"] == parent.info.run_id
        assert page(parent) in root.data.tags["mlflow.note.content"]
    assert parent.data.tags["kfp.mlflow_root_run_id"] == second.root
    assert parent.data.tags["kfp.pipeline_run_id"] == second.kfp_run
    assert page(client.get_run(second.root)) in parent.data.tags["mlflow.note.content"]
    for stage, run_id in runs.items():
        assert client.get_run(run_id).data.tags["mmgen.stage"] == stage


def test_a_description_that_a_person_wrote_stays(
    client: MlflowClient, plugin: PluginRun, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.set_tag(plugin.root, "mlflow.note.content", "the run for the talk")
    inject(monkeypatch, plugin.environment(plugin.drive("train")))

    train(run, steps=1)

    root = client.get_run(plugin.root)
    assert root.data.tags["mlflow.note.content"] == "the run for the talk"
    assert root.data.tags["mmgen.run_id"]


@pytest.mark.parametrize("ended", ["by the launcher", "by nobody"])
def test_a_task_that_is_tried_again_goes_on_in_its_run_with_each_step_once(
    client: MlflowClient, plugin: PluginRun, run: Run, monkeypatch: pytest.MonkeyPatch, ended: str
) -> None:
    task_run = plugin.drive("train")
    inject(monkeypatch, plugin.environment(task_run))
    with trainer(run, 1, 20) as (process, _, child_id):
        if ended == "by the launcher":  # else rows of the first try may still wait in the outbox
            deadline = time.monotonic() + 60
            while steps(client, child_id) != list(range(1, 21)):
                assert time.monotonic() < deadline, "20 rows were written and did not arrive"
                time.sleep(0.2)
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    assert child_id == task_run
    first = client.get_run(task_run).data.tags["mmgen.attempt"]
    if ended == "by the launcher":
        plugin.launched(task_run, {}, {}, "FAILED")

    with trainer(run, 21, 30) as (_, _, again):
        assert client.get_run(task_run).info.status == "RUNNING"

    task = client.get_run(task_run)
    assert again == task_run
    assert task.data.tags["mmgen.attempt"] > first
    assert task.info.status == "RUNNING"
    assert steps(client, task_run) == list(range(1, 31))
    assert outbox.waiting(run.root) == []
    assert ours(client, run, "train") == []


def test_the_pages_retry_goes_on_in_the_same_run(
    client: MlflowClient, plugin: PluginRun, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_run = plugin.drive("validate")
    inject(monkeypatch, plugin.environment(task_run))
    out = run.root / "out"
    out.mkdir(parents=True)
    with pytest.raises(ZeroDivisionError), stage_run(run, "validate", out):
        raise ZeroDivisionError
    plugin.launched(task_run, {}, {}, "FAILED")
    plugin.end("FAILED")
    (parent,) = ours(client, run, "all")
    assert parent.info.status == "FAILED"

    plugin.retry()
    with stage_run(run, "validate", out):
        assert client.get_run(task_run).info.status == "RUNNING"
    plugin.launched(task_run, {}, {}, "FINISHED")

    assert client.get_run(task_run).info.status == "FINISHED"
    assert [entry.info.status for entry in ours(client, run, "all")] == ["RUNNING"]


def test_a_second_stage_in_the_same_task_has_a_run_of_its_own(
    client: MlflowClient, plugin: PluginRun, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_run = plugin.drive("everything")
    inject(monkeypatch, plugin.environment(task_run))
    for stage in ("validate", "train"):
        (run.root / stage).mkdir(parents=True)
        with stage_run(run, stage, run.root / stage):
            pass

    (parent,), (second,) = ours(client, run, "all"), ours(client, run, "train")
    assert client.get_run(task_run).data.tags["mmgen.stage"] == "validate"
    assert second.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert second.info.status == "FINISHED"


def test_a_registered_model_comes_from_the_run_of_its_task(
    client: MlflowClient, plugin: PluginRun, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_trained(run, shade=int(run.keys.run_key[:4]) % 256)
    task_run = plugin.drive("register")
    inject(monkeypatch, plugin.environment(task_run))
    out = run.root / "out"
    out.mkdir()

    with stage_run(run, "register", out, kfp_run_id=plugin.kfp_run) as tracked:
        version = register(run, tracked, out, kfp_run_id=plugin.kfp_run, promoting=False)

    (parent,) = ours(client, run, "all")
    assert client.get_model_version(NAME, version.version).run_id == task_run
    assert version.tags["mmgen.mlflow_run_id"] == parent.info.run_id
    assert (tracked.experiment_id, tracked.parent_id) == (parent.info.experiment_id, parent.info.run_id)
    assert client.get_run(task_run).outputs.model_outputs


def test_a_plugin_of_another_server_leaves_our_runs_as_they_are_and_linked(
    client: MlflowClient, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other server is not there at all: whoever asked it would fail. Ours has no workspaces and refuses them."""
    other = PluginRun(
        server="http://ann:s3cret@127.0.0.1:9/", kfp_run="kfp-1", experiment="7", root="a" * 32
    ).environment("b" * 32)
    inject(monkeypatch, {**other, "MLFLOW_TRACKING_TOKEN": "s3cret-token", "MLFLOW_WORKSPACE": "team"})
    make_trained(run, shade=int(run.keys.run_key[:4]) % 256)
    out = run.root / "out"
    out.mkdir()

    with stage_run(run, "register", out) as tracked:
        version = register(run, tracked, out, promoting=False)

    (parent,), (child,) = ours(client, run, "all"), ours(client, run, "register")
    assert child.info.status == "FINISHED"
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.data.tags["kfp.mlflow_run_id"] == "b" * 32
    assert parent.data.tags["kfp.mlflow_root_run_id"] == "a" * 32
    for found in (parent, child):
        assert found.data.tags["kfp.mlflow_tracking_uri"] == "http://127.0.0.1:9"
    assert history(run.root, NAME)
    trained = run.folder("train")
    trained.rename(run.root / "elsewhere")
    assert (fetch(run.root, NAME, version.version) / "weights.safetensors").is_file()


def test_where_the_plugin_tells_tasks_nothing_our_run_and_its_root_are_linked(
    client: MlflowClient, plugin: PluginRun, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_run = plugin.drive("train")
    inject(monkeypatch, plugin.environment())

    train(run, steps=1)

    (parent,), (child,) = ours(client, run, "all"), ours(client, run, "train")
    assert child.info.status == "FINISHED"
    assert client.get_run(plugin.root).data.tags["mmgen.run_id"] == parent.info.run_id
    assert parent.data.tags["kfp.mlflow_root_run_id"] == plugin.root
    assert client.get_run(task_run).data.metrics == {}


def test_the_experiment_of_the_plugin_may_be_ours(
    client: MlflowClient, plugin: PluginRun, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = create(plugin.server, f"{plugin.kfp_run}-shared", experiment="mmgen/emoji")
    first, second = shared.drive("train"), shared.drive("train")  # as after a driver that was run again
    for task_run in (first, second):
        inject(monkeypatch, shared.environment(task_run))
        out = run.root / task_run
        out.mkdir(parents=True)
        with stage_run(run, "train", out):
            pass

    (parent,) = ours(client, run, "all")
    assert parent.info.run_id not in (shared.root, first, second)
    assert {each.info.run_id for each in ours(client, run, "train")} == {first, second}
    assert {client.get_run(each).info.status for each in (first, second)} == {"RUNNING"}  # Kubeflow ends them


@pytest.mark.parametrize("nested", [False, True], ids=["at the top", "nested"])
def test_a_persons_own_run_is_joined_as_the_whole_run(
    client: MlflowClient, run: Run, monkeypatch: pytest.MonkeyPatch, nested: bool
) -> None:
    experiment = client.create_experiment(f"mine-{time.time_ns()}")
    top = client.create_run(experiment).info.run_id
    mine = client.create_run(experiment, tags={"mlflow.parentRunId": top}).info.run_id if nested else top
    monkeypatch.setenv("MLFLOW_RUN_ID", mine)

    train(run, steps=1)

    (child,) = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{mine}'")
    assert child.data.tags["mmgen.stage"] == "train"
    assert child.info.status == "FINISHED"
    assert client.get_run(mine).info.status == "RUNNING"
    assert client.get_run(mine).data.tags["mmgen.run_key"] == run.keys.run_key
    assert ours(client, run, "all") == []


def test_a_run_that_no_server_has_is_told_in_one_line_and_its_stage_waits_in_the_outbox(
    client: MlflowClient, run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "c" * 32)

    train(run, steps=1)

    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "c" * 32 in said
    assert len(outbox.waiting(run.root)) == 1
