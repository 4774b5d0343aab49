"""What each task may use of a cluster: constants, since a pipeline parameter in their place compiles to a broken spec.

Kubeflow retries a task whatever its exit code says, so retries are counted by what is likely to end a task: a node
that is taken away (training, which goes on from its checkpoint), a store or tracker that refuses for a while
(everything else). Data that is refused or a wrong setting fails again at once: validation is the first task and is
tried only twice, and no later task starts without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mmgen.ops.distributed import cluster_names
from mmgen.ops.runs.keys import STAGES

ACCELERATOR = "nvidia.com/gpu"
GPU_LABEL = "nvidia.com/gpu.present"
"""Label that NVIDIA's feature discovery gives to nodes with a GPU."""
BACKOFF_SECONDS, BACKOFF_FACTOR = 30, 2.0
HOUR = 3600
TRIES_SECONDS = 30 * 24 * HOUR
"""Within which a task may be tried: time in a queue, all attempts, the pauses between them. Kubeflow calls it the
backoff's longest duration. Argo counts it from the first attempt and ends the attempt that is then at work."""

STORE = ("AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
"""Keys in the ConfigMap of settings, and variables of whoever speaks to the object store, in every pod: boto3 reads the
second name of the region, most other clients the first; `requests` follows the addresses that MLflow signs."""
SETTINGS = {name: name for name in STORE} | {
    # Not MLFLOW_TRACKING_URI: Kubeflow's MLflow plugin writes a value for that name into the same container, and
    # Kubernetes refuses a variable that has a value and a source.
    "MLFLOW_TRACKING_URI": "MMGEN_TRACKING_URI",
    "MMGEN_PRICE_CPU_HOUR": "MMGEN_PRICE_CPU_HOUR",
    "MMGEN_PRICE_GPU_HOUR": "MMGEN_PRICE_GPU_HOUR",
}
"""Keys in the ConfigMap of settings, and the variables that tasks get them as, where it has them."""
KEYS = {
    "access-key-id": "AWS_ACCESS_KEY_ID",
    "secret-access-key": "AWS_SECRET_ACCESS_KEY",
}
"""Keys of the Secret of the object store, and the variables that tasks get them as, where there is such a Secret."""
OF_THE_PLUGIN = "MLFLOW_"
"""Kubeflow's MLflow plugin may write a value for any variable that begins like this, such as MLFLOW_RUN_ID."""
AUTHORITIES = "/etc/mmgen/authorities"
"""Where pods find the certificates of a private authority, from a ConfigMap that need not be there."""
RESTARTS = 3
"""Times that a stage which a signal ended is started again in its pod: Kubeflow itself retries only lost pods."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """Of one task. Requests equal limits where there is a GPU, so that nothing else presses on its node."""

    cpu_request: str
    cpu_limit: str
    memory_request: str
    memory_limit: str
    """Includes what lies in shared memory."""
    timeout_s: int
    retries: int
    scratch: str = "2Gi"
    """Size of /tmp, the only place of the root file system that a task can write to."""
    shared_memory: str | None = None
    """Size of /dev/shm; the 64 MB of a container are too few for several processes of torch."""
    gpus: int = 0
    nodes: int = 1
    """Above one, the task starts a TrainJob of so many nodes with `node_gpus` each and watches it."""
    node_gpus: int = 0


SMALL = Resources(
    cpu_request="500m", cpu_limit="2", memory_request="1Gi", memory_limit="2Gi", timeout_s=HOUR, retries=3
)
LEARNS = Resources(
    cpu_request="2", cpu_limit="4", memory_request="4Gi", memory_limit="8Gi", timeout_s=12 * HOUR, retries=5
)
ONE_GPU = Resources(
    cpu_request="4",
    cpu_limit="4",
    memory_request="24Gi",
    memory_limit="24Gi",
    timeout_s=24 * HOUR,
    retries=5,
    scratch="20Gi",
    shared_memory="8Gi",
    gpus=1,
)
GPUS = replace(
    ONE_GPU,
    cpu_request="16",
    cpu_limit="16",
    memory_request="96Gi",
    memory_limit="96Gi",
    shared_memory="32Gi",
    gpus=4,
)
WATCHES = replace(SMALL, timeout_s=24 * HOUR, retries=5, nodes=2, node_gpus=4)


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """What the tasks of a pipeline may use, and the settings of a recipe that fit it."""

    stages: Mapping[str, Resources]

    @property
    def settings(self) -> str:
        """Settings without which a training would not use what its task asks for, such as "training.device=cuda"."""
        train = self.stages["train"]
        gpus = train.node_gpus if train.nodes > 1 else train.gpus
        processes = train.nodes * max(gpus, 1)
        found = ["training.device=cuda"] if gpus else []
        return "; ".join(found + ([f"training.processes={processes}"] if processes > 1 else []))


def _profile(train: Resources, asks: Resources) -> Profile:
    few = replace(SMALL, retries=1)
    answers = replace(asks, timeout_s=4 * HOUR, retries=3)
    own = {"validate": few, "judge": answers, "train": train, "evaluate": answers}
    return Profile(stages=dict.fromkeys(STAGES, SMALL) | own)


PROFILES = {
    "cpu": _profile(LEARNS, LEARNS),
    "gpu": _profile(ONE_GPU, ONE_GPU),
    "gpus": _profile(GPUS, ONE_GPU),
    "nodes": _profile(WATCHES, ONE_GPU),
    "nodes-cpu": _profile(replace(WATCHES, node_gpus=0), LEARNS),
}
"""The default first."""

NAMES = tuple(PROFILES)


def apply(task: Any, resources: Resources) -> None:
    """Write `resources` into a task; what only Kubernetes understands goes to the compiled file's second document."""
    from kfp import kubernetes

    task.set_cpu_request(resources.cpu_request).set_cpu_limit(resources.cpu_limit)
    task.set_memory_request(resources.memory_request).set_memory_limit(resources.memory_limit)
    task.set_retry(
        resources.retries,
        backoff_duration=f"{BACKOFF_SECONDS}s",
        backoff_factor=BACKOFF_FACTOR,
        backoff_max_duration=f"{TRIES_SECONDS}s",
    )
    kubernetes.set_timeout(task, resources.timeout_s)
    kubernetes.set_security_context(task, run_as_non_root=True)
    kubernetes.empty_dir_mount(task, "scratch", "/tmp", size_limit=resources.scratch)  # noqa: S108
    if size := resources.shared_memory:
        kubernetes.empty_dir_mount(task, "shared-memory", "/dev/shm", medium="Memory", size_limit=size)  # noqa: S108
    if resources.gpus:
        task.set_accelerator_type(ACCELERATOR).set_accelerator_limit(resources.gpus)
        kubernetes.add_node_selector(task, GPU_LABEL, "true")
        kubernetes.add_toleration(task, key=ACCELERATOR, operator="Exists", effect="NoSchedule")
    task.set_env_variable("MMGEN_CACHE", "/tmp/cache")  # noqa: S108
    task.set_env_variable("MMGEN_RESTARTS", str(RESTARTS))
    kubernetes.use_config_map_as_env(task, cluster_names.SETTINGS, SETTINGS, optional=True)
    kubernetes.use_secret_as_env(task, cluster_names.OBJECT_STORE, KEYS, optional=True)
    kubernetes.use_config_map_as_volume(task, cluster_names.AUTHORITIES, AUTHORITIES, optional=True)
    if resources.nodes > 1:
        task.set_env_variable("MMGEN_TRAIN_NODES", str(resources.nodes))
        task.set_env_variable("MMGEN_TRAIN_NODE_GPUS", str(resources.node_gpus))
