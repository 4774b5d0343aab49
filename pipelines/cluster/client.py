"""A thin layer over kfp.Client: our pipeline, our experiment, runs found by name, every error one line.

    KFP_ENDPOINT     address of the Kubeflow Pipelines API server, such as https://kubeflow.example.org/pipeline
    KFP_NAMESPACE    namespace of the profile, where the installation has several users

Who we are there: `pipelines/cluster/auth.py`. Nothing here decides anything; `pipelines/cluster/submit.py` does.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmgen.errors import ConfigError
from mmgen.ops.keys import STAGES
from pipelines.cluster.auth import ClusterError, check_encrypted, credentials

PIPELINE = "mmgen-train"
EXPERIMENT = "mmgen"
TIMEOUTS = (5, 20)
"""Seconds to connect and to wait for an answer; kfp.Client by itself waits for ever. What only reads is tried four
times."""
PAGE = 100
DEAD = ("FAILED", "CANCELED", "CANCELING", "SKIPPED")
"""States of a run that will not give a model."""
ENDED = ("SUCCEEDED", *DEAD)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterRun:
    """A run as the cluster tells of it."""

    run_id: str
    name: str
    state: str
    created: str
    """UTC, such as 2026-11-23T08:00:00Z."""
    link: str
    error: str
    stages: dict[str, str]
    """State of each of our stages that has one, in their order."""
    pods: dict[str, list[str]]
    """Pods of each stage."""


class Cluster:
    """Kubeflow Pipelines at one address."""

    def __init__(self, endpoint: str, namespace: str, environment: Mapping[str, str]) -> None:
        """Connect.

        Raises:
            ConfigError: the address or the credentials are wrongly described.
            ClusterError: the server cannot be reached or refuses us.
        """
        self._endpoint = endpoint.rstrip("/")
        who = credentials(environment)
        if who is not None:
            check_encrypted("KFP_ENDPOINT", endpoint)
        elif not endpoint.startswith(("http://", "https://")):
            raise ConfigError(f"KFP_ENDPOINT {endpoint!r} is no address; give one such as https://host/pipeline")
        self._namespace = namespace or None
        with self._asking():
            from kfp import Client

            # Given a namespace, the client does not ask for the server's health by itself: it would try for 25 s.
            self._client = Client(host=self._endpoint, namespace=namespace or "-", credentials=who)
            self._client._context_setting["namespace"] = namespace
            self._api = self._client._run_api.api_client
            self._api.rest_client.request = _bounded(self._api.rest_client.request)
            health = self._client._healthz_api.healthz_service_get_healthz()
        if health.multi_user and not namespace:
            raise ConfigError(f"{self._endpoint} has several users; set KFP_NAMESPACE to the namespace of your profile")

    def upload(self, content: bytes) -> tuple[str, str]:
        """Ids of our pipeline and of the version with this content, each made only when there is none."""
        name = hashlib.sha256(content).hexdigest()[:16]
        with self._asking(), tempfile.TemporaryDirectory() as folder:
            package = Path(folder) / "training.yaml"
            package.write_bytes(content)
            # Without a namespace: pipelines are shared, unless the server says otherwise.
            if self._client.get_pipeline_id(PIPELINE) is None:
                with _made_already():
                    self._client.upload_pipeline(str(package), PIPELINE, namespace=self._namespace)
            pipeline = str(self._client.get_pipeline_id(PIPELINE))
            if not self._versions(pipeline, name):
                with _made_already():
                    self._client.upload_pipeline_version(str(package), name, pipeline_id=pipeline)
            return pipeline, self._versions(pipeline, name)[0]

    def experiment(self) -> str:
        """Id of our experiment, made when there is none."""
        with self._asking():
            with _made_already():
                self._client.create_experiment(EXPERIMENT, namespace=self._namespace)
            found = self._client.get_experiment(experiment_name=EXPERIMENT, namespace=self._namespace)
            return str(found.experiment_id)

    def start(self, name: str, version: tuple[str, str], parameters: Mapping[str, Any]) -> ClusterRun:
        """Start a run of a version of our pipeline."""
        experiment = self.experiment()
        with self._asking():
            pipeline_id, version_id = version
            made = self._client.run_pipeline(
                experiment, name, params=dict(parameters), pipeline_id=pipeline_id, version_id=version_id
            )
            return self._told(made)

    def runs(self, name: str | None = None) -> list[ClusterRun]:
        """The newest runs of our experiment, newest first; those called `name`, where one is given."""
        experiment = self.experiment()
        with self._asking():
            found = self._client.list_runs(
                page_size=PAGE, sort_by="created_at desc", experiment_id=experiment, filter=_named(name)
            )
            return [self._told(run) for run in found.runs or []]

    def run(self, run_id: str) -> ClusterRun:
        """One run with the states of its stages."""
        with self._asking():
            return self._told(self._client.get_run(run_id))

    def cancel(self, run_id: str) -> None:
        """Stop a run; its pods are ended."""
        with self._asking():
            self._client.terminate_run(run_id)

    def log(self, run_id: str, pod: str) -> str:
        """What a pod has written so far."""
        with self._asking():
            # The generated client lacks this path; the server has had it since its first version.
            answer, *_ = self._api.call_api(
                "/apis/v1alpha1/runs/{run}/nodes/{pod}/log",
                "GET",
                {"run": run_id, "pod": pod},
                header_params={"Accept": "text/plain"},
                response_type="str",
                auth_settings=["Bearer"],
            )
            return str(answer)

    def schedules(self, name: str) -> list[str]:
        """Ids of the recurring runs called `name`."""
        experiment = self.experiment()
        with self._asking():
            found = self._client.list_recurring_runs(page_size=PAGE, experiment_id=experiment, filter=_named(name))
            return [run.recurring_run_id for run in found.recurring_runs or []]

    def schedule(self, name: str, version: tuple[str, str], parameters: Mapping[str, Any], cron: str) -> str:
        """Make a recurring run: one at a time, and what was missed is not made up for. Returns its id."""
        experiment = self.experiment()
        with self._asking():
            pipeline_id, version_id = version
            made = self._client.create_recurring_run(
                experiment,
                name,
                cron_expression=cron,
                max_concurrency=1,
                no_catchup=True,
                params=dict(parameters),
                pipeline_id=pipeline_id,
                version_id=version_id,
            )
            return str(made.recurring_run_id)

    def unschedule(self, recurring_run_id: str) -> None:
        """End a recurring run; runs that it has started go on."""
        with self._asking():
            self._client.delete_recurring_run(recurring_run_id)

    def _versions(self, pipeline: str, name: str) -> list[str]:
        found = self._client.list_pipeline_versions(pipeline, page_size=PAGE, filter=_named(name))
        return [version.pipeline_version_id for version in found.pipeline_versions or []]

    def _told(self, run: Any) -> ClusterRun:
        tasks = (run.run_details.task_details if run.run_details else None) or []
        states = {task.display_name: str(task.state or "PENDING") for task in tasks}
        pods: dict[str, list[str]] = {}
        for task in tasks:
            below = [child.pod_name for child in task.child_tasks or [] if child.pod_name]
            pods[task.display_name] = [pod for pod in (task.pod_name, *below) if pod]
        return ClusterRun(
            run_id=run.run_id,
            name=run.display_name,
            state=str(run.state or "PENDING"),  # a run that was created just now has none yet
            created=run.created_at.strftime("%Y-%m-%dT%H:%M:%SZ") if run.created_at else "",
            link=f"{self._endpoint}/#/runs/details/{run.run_id}",
            error=_line(run.error.message) if run.error else "",
            stages={stage: states[stage] for stage in STAGES if stage in states},
            pods={stage: pods[stage] for stage in STAGES if stage in pods},
        )

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """Quiet, and every failure of the server one line without a token."""
        try:
            with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except Exception as error:
            status = getattr(error, "status", None)
            if isinstance(status, int):
                raise ClusterError(self._refusal(status, str(getattr(error, "body", "") or ""))) from None
            if type(error).__module__.startswith("urllib3."):
                raise ClusterError(
                    f"KFP_ENDPOINT {self._endpoint} cannot be reached ({type(error).__name__}); "
                    "check the address and try again"
                ) from None
            raise

    def _refusal(self, status: int, body: str) -> str:
        try:
            said = json.loads(body)
            reason = _line(str(said.get("message") or said.get("error") or ""))
        except (ValueError, AttributeError):
            reason = _line(body)
        if status in (401, 403):
            return f"KFP_ENDPOINT {self._endpoint} refuses us ({status}); renew KFP_TOKEN_FILE or the OIDC client"
        way_out = "try again" if status >= 500 or status == 429 else "see: mmgen status"
        return f"KFP_ENDPOINT {self._endpoint} answered {status}: {reason or 'no reason'}; {way_out}"


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


@contextlib.contextmanager
def _made_already() -> Iterator[None]:
    """Pass over the answer that somebody else has made it at the same moment."""
    try:
        yield
    except Exception as error:
        if getattr(error, "status", None) != 409:
            raise


def _named(name: str | None) -> str | None:
    """Kubeflow's filter for one display name."""
    if name is None:
        return None
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def _bounded(request: Callable[..., Any]) -> Callable[..., Any]:
    """The client's request with a deadline."""

    def bounded(*arguments: Any, **options: Any) -> Any:
        return request(*arguments, **{**options, "_request_timeout": options.get("_request_timeout") or TIMEOUTS})

    return bounded


def _line(text: str) -> str:
    return " ".join(text.split())[:200]
