"""Training on several nodes of a cluster: a TrainJob of Kubeflow Trainer does it, this process starts and watches it.

    task of the pipeline                   creates TrainJob mmgen-<key of the training>, or finds the one that runs
      TrainJob, runtime `mmgen-torch`      k8s/components/trainer: pods, network, shared memory, secrets by reference
        torchrun, a pod a node             python -m mmgen.ops.stages.worker, as on one machine (see `torchrun`)

The first process of the first node has the lock, the ledger and the MLflow run, and seals the stage below the same
root. So a task that was killed and is tried again finds its TrainJob by name and watches on.

Environment of the task, set when the pipeline is compiled: `MMGEN_TRAIN_NODES`, `MMGEN_TRAIN_NODE_GPUS` (0 for CPUs)
and `MMGEN_TRAIN_IMAGE`, by digest.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmgen.errors import ConfigError, MmgenError, TrainingError, WorkersError
from mmgen.ops.distributed import processes
from mmgen.ops.distributed.cluster_names import QUEUE, TRAINING_RUNTIME
from mmgen.ops.runs import ledger
from mmgen.ops.runs.cache import StageResult
from mmgen.ops.runs.run import Run, find_output
from mmgen.ops.storage.roots import address
from mmgen.progress import Progress

if TYPE_CHECKING:
    from kubernetes.client import CustomObjectsApi

GROUP, VERSION, PLURAL = "trainer.kubeflow.org", "v1alpha1", "trainjobs"
ROLE = "training"
"""Value of the label `mmgen/role`, which network policies go by."""

CPU_NODE = {"cpu": "2", "memory": "8Gi"}
"""Requests and limits of a node without GPUs."""
CPUS_OF_GPU, MEMORY_GIB_OF_GPU = 4, 24
"""For each GPU of a node."""

POLL_SECONDS = 10.0
GONE_SECONDS = 120.0
"""Longest wait until an ended TrainJob of the same name is deleted."""
PATIENCE = 30
"""Questions in a row that the API may leave unanswered."""

PASSED_ON = (
    "MMGEN_TRACKING_URI",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_WORKSPACE",
    "MLFLOW_TRACKING_AUTH",
    "MLFLOW_RUN_ID",
    "MMGEN_IMAGE_DIGEST",
    "MMGEN_PRICE_CPU_HOUR",
    "MMGEN_PRICE_GPU_HOUR",
)
"""Variables of the task that the pods get as well. None is a secret: those come from the runtime, by reference."""

NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
DIGEST = re.compile(r"[a-z0-9._/:-]+@sha256:[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Nodes:
    """What a TrainJob asks for."""

    nodes: int
    gpus: int
    """Of each node; none where processes compute on CPUs."""
    processes: int
    """Of each node."""
    image: str

    @classmethod
    def asked(cls, run: Run, environment: Mapping[str, str]) -> Nodes:
        """From the task's environment.

        Raises:
            ConfigError: it does not fit the recipe, or the image is not named by digest.
        """
        nodes, gpus = (int(environment.get(f"MMGEN_TRAIN_{name}", "0")) for name in ("NODES", "NODE_GPUS"))
        training, image = run.recipe.training, environment.get("MMGEN_TRAIN_IMAGE", "")
        if not DIGEST.fullmatch(image):
            raise ConfigError(f"MMGEN_TRAIN_IMAGE={image!r}: expected an image by digest, name@sha256:...")
        if training.processes % nodes or (gpus and gpus * nodes != training.processes):
            wanted = (gpus or 1) * nodes
            raise ConfigError(
                f"training.processes is {training.processes}, and {nodes} nodes with {gpus} GPUs each take part; "
                f"--set training.processes={wanted}"
            )
        if (training.device == "cuda") != bool(gpus):
            device = "cuda" if gpus else "cpu"
            raise ConfigError(
                f"training.device is {training.device!r}, and the nodes have {gpus} GPUs each; "
                f"--set training.device={device}"
            )
        return cls(nodes=nodes, gpus=gpus, processes=training.processes // nodes, image=image)


def train(run: Run, progress: Progress, kfp_run: str) -> StageResult:
    """Train on several nodes; the stage is sealed then.

    Raises:
        ConfigError: the task's environment does not fit the recipe.
        WorkersError: the API of the cluster does not answer, or the TrainJob ended without a reason.
        MmgenError: as the ledger of attempts says why.
        KeyboardInterrupt: stopped; the TrainJob is deleted, so its processes save a checkpoint.
    """
    return Watcher(*_cluster()).train(run, progress, kfp_run, Nodes.asked(run, os.environ))


def manifest(run: Run, asked: Nodes, kfp_run: str) -> dict[str, Any]:
    """The TrainJob of a run."""
    amounts = dict(CPU_NODE)
    if gpus := asked.gpus:
        amounts = {
            "cpu": f"{CPUS_OF_GPU * gpus}",
            "memory": f"{MEMORY_GIB_OF_GPU * gpus}Gi",
            "nvidia.com/gpu": f"{gpus}",
        }
    arguments = processes.worker_arguments(run, address(run.root), address(run.data_root), kfp_run)
    told = [{"name": name, "value": os.environ[name]} for name in PASSED_ON if name in os.environ]
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "TrainJob",
        "metadata": {
            "name": name_of(run),
            "labels": {
                "app.kubernetes.io/part-of": "mmgen",
                "kueue.x-k8s.io/queue-name": QUEUE,
                "mmgen/role": ROLE,
                "mmgen/run": run.keys.run_key,
            },
        },
        "spec": {
            "runtimeRef": {"apiGroup": GROUP, "kind": "TrainingRuntime", "name": TRAINING_RUNTIME},
            "activeDeadlineSeconds": max(1, int(run.recipe.limits.max_seconds)),
            "trainer": {
                "image": asked.image,
                "numNodes": asked.nodes,
                "numProcPerNode": asked.processes,
                # Addresses and numbers come from Trainer, in variables PET_... that torchrun reads.
                "command": ["python", "-m", "torch.distributed.run"],
                "args": arguments,
                "resourcesPerNode": {"requests": dict(amounts), "limits": dict(amounts)},
                "env": told,
            },
        },
    }


def name_of(run: Run) -> str:
    """Of the TrainJob: the same for every try of the same training."""
    return f"mmgen-{run.keys.stages['train']}"


class Watcher:
    """Creates, asks and deletes TrainJobs of one namespace."""

    def __init__(self, api: CustomObjectsApi, namespace: str) -> None:
        self._api, self._namespace = api, namespace

    def train(self, run: Run, progress: Progress, kfp_run: str, asked: Nodes) -> StageResult:
        """As the function `train`."""
        began, name = time.monotonic(), name_of(run)
        progress.stage("train", "running")
        with processes.interrupted():
            try:
                self._ensure(manifest(run, asked, kfp_run), progress)
                progress.start("train", 100, "%")
                while (ended := ending(job := self._get(name))) is None:
                    progress.update(int(job.get("status", {}).get("trainerStatus", {}).get("progressPercentage", 0)))
                    time.sleep(POLL_SECONDS)
                progress.done()
            except KeyboardInterrupt:
                self._delete(name)
                raise
        if find_output(run, "train") is None:
            raise _reason(run, f"TrainJob {name}: {ended}; its training is not sealed")
        self._delete(name)
        progress.stage("train", "ran", time.monotonic() - began)
        return StageResult(name="train", state="ran", folder=run.folder("train"), seconds=time.monotonic() - began)

    def _ensure(self, wanted: dict[str, Any], progress: Progress) -> None:
        """Have a TrainJob of this name at work: the one that is, or a new one in place of one that has ended."""
        name, deadline = wanted["metadata"]["name"], time.monotonic() + GONE_SECONDS
        while True:
            found = self._call(self._api.create_namespaced_custom_object, wanted, none_on=409)
            if found is not None:
                progress.note(f"TrainJob {name} created")
                return
            there = self._call(self._api.get_namespaced_custom_object, name, none_on=404)
            if there is not None and ending(there) is None and "deletionTimestamp" not in there["metadata"]:
                progress.note(f"TrainJob {name} is at work already; watching it")
                return
            if time.monotonic() >= deadline:
                raise WorkersError(f"TrainJob {name} has ended and cannot be deleted; kubectl delete trainjob {name}")
            if there is not None:
                self._delete(name)
            time.sleep(min(POLL_SECONDS, 1.0))

    def _get(self, name: str) -> dict[str, Any]:
        found = self._call(self._api.get_namespaced_custom_object, name, none_on=404)
        if found is None:
            raise WorkersError(f"TrainJob {name} was deleted by somebody; run again to go on from its last checkpoint")
        return found

    def _delete(self, name: str) -> None:
        self._call(self._api.delete_namespaced_custom_object, name, none_on=404)

    def _call(self, method: Any, *given: Any, none_on: int) -> dict[str, Any] | None:
        """Ask the API; None for the answer that `none_on` names. What may pass is asked again.

        Raises:
            ConfigError: it refuses the object, or this service account.
            WorkersError: it does not answer.
        """
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        problem = ""
        for _ in range(PATIENCE):
            try:
                found: dict[str, Any] = method(GROUP, VERSION, self._namespace, PLURAL, *given, _request_timeout=30)
                return found
            except ApiException as error:
                if error.status == none_on:
                    return None
                problem = f"{error.status} {error.reason}"
                if error.status in (400, 401, 403, 404, 422):
                    detail = " ".join(str(error.body).split())[:300]
                    raise ConfigError(f"the cluster refuses a TrainJob: {problem}: {detail}") from None
            except HTTPError as error:
                problem = type(error).__name__
            time.sleep(POLL_SECONDS)
        raise WorkersError(f"the API of the cluster does not answer ({problem}); run again to watch on")


def ending(job: Mapping[str, Any]) -> str | None:
    """How a TrainJob has ended, in words; None for one that has not."""
    for condition in job.get("status", {}).get("conditions", []):
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return f"{condition['type']} ({condition['reason']}) {condition['message']}".strip()
    return None


def _reason(run: Run, otherwise: str) -> MmgenError:
    """The error that the last attempt in the ledger ended with: its process is gone, and its exit code with it."""
    ledger.fetch(run)
    rows = ledger.attempts(ledger.ledger_of(run, "train"))
    if not rows:
        return WorkersError(f"{otherwise}; no process of it has begun to train; run again")
    outcome, why = rows[-1]["outcome"], rows[-1].get("error", "")
    code = {outcome: code for code, outcome in ledger.OUTCOMES.items()}.get(outcome, WorkersError.exit_code)
    kind = TrainingError if outcome == "training" else processes.ERRORS.get(code, WorkersError)
    return kind(why or f"{otherwise}; the last attempt ended as {outcome!r}, its log says more")


def _cluster() -> tuple[CustomObjectsApi, str]:
    """The API of the cluster that this pod is in, and the pod's namespace.

    Raises:
        ConfigError: this is no pod, or it has no token.
    """
    from kubernetes import client, config

    try:
        config.load_incluster_config()
        return client.CustomObjectsApi(), NAMESPACE.read_text().strip()
    except (config.ConfigException, OSError) as error:
        raise ConfigError(
            f"MMGEN_TRAIN_NODES is set, and this is no pod with a token of the cluster ({error}); unset it"
        ) from None
