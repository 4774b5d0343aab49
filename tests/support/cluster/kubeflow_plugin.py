"""A stand-in for the MLflow plugin of Kubeflow Pipelines 2.17: the requests that it makes, in the order of its own.

create           API server, when a run is created     backend/src/apiserver/plugins/mlflow/handler.go
drive            driver of a task                      backend/src/v2/common/plugins/mlflow/handler.go, OnTaskStart
environment      what a task's container gets          the same, RetrieveUserContainerEnvVars; config.go
launched         launcher, when the container ended    the same, OnTaskEnd
end, retry       API server, at the run's end and      backend/src/apiserver/plugins/mlflow/run_start.go,
                 when its page's Retry is pressed      SyncParentAndNestedRuns
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException

from mmgen.ops.tracking.client import pages

ENDED = ("FINISHED", "FAILED", "KILLED")


@dataclass(frozen=True, kw_only=True, slots=True)
class PluginRun:
    """What the plugin knows of one run of Kubeflow's."""

    server: str
    """Its `endpoint`, as the API server's settings say it."""
    kfp_run: str
    experiment: str
    root: str
    """Id of the root run."""

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.server, self.server)

    def drive(self, task: str) -> str:
        """Id of the run of a task, which its driver makes."""
        tags = {"mlflow.parentRunId": self.root}
        made = self.client.create_run(self.experiment, start_time=now(), run_name=task, tags=tags)
        return str(made.info.run_id)

    def environment(self, task_run: str = "") -> dict[str, str]:
        """Of a task's container; without `task_run` as where `injectUserEnvVars` is off."""
        config = {
            "endpoint": self.server,
            "parentRunId": self.root,
            "experimentId": self.experiment,
            "authType": "none",
            "timeout": "30s",
            **({"injectUserEnvVars": True} if task_run else {}),
        }
        injected = {
            "MLFLOW_RUN_ID": task_run,
            "MLFLOW_TRACKING_URI": self.server,
            "MLFLOW_EXPERIMENT_ID": self.experiment,
        }
        return {"KFP_MLFLOW_CONFIG": json.dumps(config), **(injected if task_run else {})}

    def launched(self, task_run: str, metrics: dict[str, float], parameters: dict[str, Any], status: str) -> bool:
        """The container has ended; False when MLflow refused what the task gave out, which only the log would say."""
        values = [Metric(name, value, 0, 0) for name, value in metrics.items()]
        params = [Param(name, json.dumps(value)) for name, value in parameters.items()]
        try:
            self.client.log_batch(task_run, metrics=values, params=params)
            taken = True
        except MlflowException:
            taken = False
        self.client.set_terminated(task_run, status, end_time=now())
        return taken

    def end(self, status: str) -> None:
        """Kubeflow's run has ended: so have the root run and the runs of tasks that nobody has ended."""
        self.client.set_terminated(self.root, status, end_time=now())
        for run in self.tasks():
            if run.info.status not in ENDED:
                self.client.set_terminated(run.info.run_id, status, end_time=now())

    def retry(self) -> None:
        """Retry was pressed: the root run and the tasks that failed run again."""
        self.client.update_run(self.root, status="RUNNING")
        for run in self.tasks():
            if run.info.status in ("FAILED", "KILLED"):
                self.client.update_run(run.info.run_id, status="RUNNING")

    def tasks(self) -> list[Any]:
        """The runs of its tasks."""
        query = f"tags.`mlflow.parentRunId` = '{self.root}'"
        return list(pages(self.client.search_runs, [self.experiment], query))


def create(server: str, kfp_run: str, *, experiment: str = "KFP-Default") -> PluginRun:
    """A run is created in Kubeflow: the root run in MLflow, and its experiment where it is missing."""
    client = MlflowClient(server, server)
    found = client.get_experiment_by_name(experiment)
    experiment_id = found.experiment_id if found else client.create_experiment(experiment)
    tags = {
        "kfp.pipeline_run_id": kfp_run,
        "kfp.pipeline_run_url": f"https://kubeflow.example.org/#/runs/details/{kfp_run}",
        "kfp.pipeline_id": "p-1",
    }
    made = client.create_run(experiment_id, start_time=now(), run_name="mmgen-train emoji", tags=tags)
    return PluginRun(server=server, kfp_run=kfp_run, experiment=experiment_id, root=str(made.info.run_id))


def now() -> int:
    return int(time.time() * 1000)
