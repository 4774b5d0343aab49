"""A thin layer over kfp.Client: our pipeline, our experiment, runs and schedules found by name.

    KFP_ENDPOINT     address of the Kubeflow Pipelines API server, such as https://kubeflow.example.org/pipeline
    KFP_NAMESPACE    namespace of the profile, where the installation has several users

Who we are there: `pipelines/cluster/auth.py`. Nothing here decides anything; `submit.py` and `schedules.py` do.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mmgen.errors import ConfigError
from pipelines.cluster.auth import ClusterError
from pipelines.cluster.objects import Objects
from pipelines.cluster.objects import connect as kubernetes_objects
from pipelines.cluster.runs import ClusterRun, Workflow, told
from pipelines.cluster.server import Absent, Server, made_already

PIPELINE = "mmgen-train"
"""What people start in Kubeflow's pages. They get its newest version, so only `publish` uploads versions of it."""
SUBMITTED = "mmgen-submitted"
"""What the command line starts: its versions have no defaults for a form."""
EXPERIMENT = "mmgen"
PAGE = 100
ERROR_MARK = '{"error_message":'
"""How the server begins the error that it writes behind what it has of a log."""


class Version(NamedTuple):
    """A version of a pipeline, as the server knows it."""

    pipeline_id: str
    version_id: str
    name: str


class Cluster(Server):
    """Our pipeline, experiment, runs and schedules on a server."""

    @functools.cached_property
    def objects(self) -> Objects | None:
        """What Kubernetes tells of the same namespace; None where it cannot be asked."""
        return kubernetes_objects(self._environment)

    def upload(
        self, content: bytes, *, pipeline: str = SUBMITTED, version: str | None = None, description: str = ""
    ) -> Version:
        """Upload a compiled pipeline, unless it is there.

        The same content under the same names is uploaded once, by however many at once. A version never changes: where
        `version` is taken by other content, the new one is called `<version>-<first 8 digits of the content's hash>`.

        Args:
            content: The compiled pipeline.
            pipeline: Its name; it is made when there is none, in the namespace where the server has several users.
            version: Name of the version, the hash of the content unless given.
            description: Of a version that is made, for people who look at it in the pages.
        """
        digest = hashlib.sha256(content).hexdigest()[:16]
        with self.asking():
            found = self._pipeline(pipeline)
            for name in (version or digest, f"{version}-{digest[:8]}"):
                there = self._version(found, name)
                if there is None:
                    there = self._upload_version(found, name, content, f"{description}\ncontent {digest}".strip())
                # Of a version that was named by its hash, the name tells the content.
                if name == digest or (there.description or "").endswith(f"content {digest}"):
                    return Version(found, str(there.pipeline_version_id), str(there.display_name))
            raise ClusterError(f"pipeline {pipeline!r} has other versions named {version!r}; give another name")

    def experiment(self) -> str:
        """Id of our experiment, made when there is none."""
        with self.asking():
            with made_already():
                self._client.create_experiment(EXPERIMENT, namespace=self._namespace)
            found = self._client.get_experiment(experiment_name=EXPERIMENT, namespace=self._namespace)
            return str(found.experiment_id)

    def start(self, name: str, version: Version, parameters: Mapping[str, Any], service_account: str) -> ClusterRun:
        """Start a run of a version of our pipeline, its pods under an account of the namespace."""
        experiment = self.experiment()
        with self.asking():
            made = self._client.run_pipeline(
                experiment,
                name,
                params=dict(parameters),
                pipeline_id=version.pipeline_id,
                version_id=version.version_id,
                service_account=service_account,
            )
            return self._told(made)

    def runs(self, name: str | None = None, *, schedule: str | None = None) -> list[ClusterRun]:
        """The newest runs of our experiment, newest first: all, those called `name`, or those of a schedule."""
        experiment = self.experiment()
        wanted = _filter(display_name=name, recurring_run_id=schedule)
        with self.asking():
            found = self._client.list_runs(
                page_size=PAGE, sort_by="created_at desc", experiment_id=experiment, filter=wanted
            )
            return [self._told(run) for run in found.runs or []]

    def run(self, run_id: str) -> ClusterRun:
        """One run with the states of its stages."""
        with self.asking():
            return self._told(self._client.get_run(run_id))

    def workflow(self, run_id: str) -> Workflow:
        """The Argo workflow of a run as Kubeflow saw it last; empty before it saw any, and where it does not tell."""
        try:
            answer = json.loads(self.get("/apis/v1beta1/runs/{run}", {"run": run_id}))
            found = json.loads((answer.get("pipeline_runtime") or {}).get("workflow_manifest") or "{}")
        except (Absent, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def cancel(self, run_id: str) -> None:
        """Stop a run; its pods are ended."""
        try:
            with self.asking():
                self._client.terminate_run(run_id)
        except ClusterError:
            # The server marks the run before it looks for the workflow, and fails where that is gone.
            if self.run(run_id).state not in ("CANCELING", "CANCELED"):
                raise

    def log(self, run_id: str, pod: str) -> str | None:
        """What a pod has written so far, None where neither the pod nor the archive has anything of it."""
        try:
            text = self.get("/apis/v1alpha1/runs/{run}/nodes/{pod}/log", {"run": run_id, "pod": pod})
        except Absent:
            return None
        # The server answers 200 before it looks, and writes its error behind what it has found.
        written, mark, rest = text.rpartition(ERROR_MARK)
        if not mark or not _is_json(mark + rest):
            return text
        return written or None

    def schedules(self, name: str | None = None) -> list[Any]:
        """The recurring runs of our experiment as the server tells of them, newest first; those called `name`."""
        experiment = self.experiment()
        with self.asking():
            found = self._client.list_recurring_runs(
                page_size=PAGE, sort_by="created_at desc", experiment_id=experiment, filter=_filter(display_name=name)
            )
            return list(found.recurring_runs or [])

    def has_schedule(self, recurring_run_id: str) -> bool:
        """Whether a recurring run is still there."""
        try:
            self.get("/apis/v2beta1/recurringruns/{id}", {"id": recurring_run_id})
        except Absent:
            return False
        return True

    def schedule(
        self, name: str, version: Version, parameters: Mapping[str, Any], cron: str, service_account: str
    ) -> str:
        """Make a recurring run: one at a time, and what was missed is not made up for. Returns its id."""
        experiment = self.experiment()
        with self.asking():
            made = self._client.create_recurring_run(
                experiment,
                name,
                cron_expression=cron,
                max_concurrency=1,
                no_catchup=True,
                params=dict(parameters),
                pipeline_id=version.pipeline_id,
                version_id=version.version_id,
                service_account=service_account,
            )
            return str(made.recurring_run_id)

    def disable_schedule(self, recurring_run_id: str) -> None:
        """Let a recurring run start nothing more; what it has started goes on."""
        with self.asking():
            self._client.disable_recurring_run(recurring_run_id)

    def delete_schedule(self, recurring_run_id: str) -> None:
        """Delete a recurring run, and with it, on servers before 2.17, the workflows that it has started."""
        with self.asking():
            self._client._recurring_run_api.recurring_run_service_delete_recurring_run(
                recurring_run_id, propagation_policy="ORPHAN"
            )

    def _pipeline(self, name: str) -> str:
        """Id of a pipeline, made when there is none: in the namespace, where there is one, else shared by all."""
        from kfp_server_api import V2beta1Pipeline

        def find() -> str | None:
            found = self._client.list_pipelines(
                page_size=PAGE, filter=_filter(display_name=name), namespace=self._namespace
            )
            return str(found.pipelines[0].pipeline_id) if found.pipelines else None

        if there := find():
            return there
        with made_already():
            wanted = V2beta1Pipeline(display_name=name, namespace=self._namespace)
            return str(self._client._pipelines_api.pipeline_service_create_pipeline(wanted).pipeline_id)
        if there := find():
            return there
        raise ClusterError(f"pipeline {name!r} is said to be there already and is not listed; check KFP_NAMESPACE")

    def _version(self, pipeline: str, name: str) -> Any:
        found = self._client.list_pipeline_versions(pipeline, page_size=PAGE, filter=_filter(display_name=name))
        return found.pipeline_versions[0] if found.pipeline_versions else None

    def _upload_version(self, pipeline: str, name: str, content: bytes, description: str) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            package = Path(folder) / "training.yaml"
            package.write_bytes(content)
            with made_already():
                self._client.upload_pipeline_version(str(package), name, pipeline_id=pipeline, description=description)
        if (made := self._version(pipeline, name)) is None:
            raise ClusterError(f"version {name!r} was uploaded and is not listed; try again")
        return made

    def _told(self, run: Any) -> ClusterRun:
        return told(run, f"{self._endpoint}/#/runs/details/{run.run_id}")


def connect(environment: Mapping[str, str] = os.environ) -> Cluster:
    """The cluster that the environment names.

    Raises:
        ConfigError: it names none.
        ClusterError: the server cannot be reached or refuses us.
    """
    endpoint = environment.get("KFP_ENDPOINT", "")
    if not endpoint:
        raise ConfigError("no cluster is named; set KFP_ENDPOINT to its address, or run here with: mmgen run")
    return Cluster(endpoint, environment.get("KFP_NAMESPACE", ""), environment)


def _filter(**wanted: str | None) -> str | None:
    """Kubeflow's filter for fields that have these values."""
    predicates = [
        {"operation": "EQUALS", "key": key, "stringValue": value} for key, value in wanted.items() if value is not None
    ]
    return json.dumps({"predicates": predicates}) if predicates else None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
