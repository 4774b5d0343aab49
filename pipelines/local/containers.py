"""The pipeline in containers on this machine, by KFP's DockerRunner: the images of a cluster, without a cluster.

A container may write to the folder of runs, as the owner of that folder, and to its own /tmp; nothing else.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmgen.errors import ConfigError
from mmgen.ops.storage.roots import cache, store_of
from pipelines.cluster.images import Images

FORWARDED = ("AWS_", "MLFLOW_", "MMGEN_TRACKING_URI")
"""Beginnings of the names of variables that tasks get from this process's environment."""
STOP_SECONDS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Containers:
    """How tasks are run in containers."""

    images: Images
    further: str = "{}"
    """JSON: arguments of Docker's `containers.run` beside ours, such as a network or devices."""

    def __post_init__(self) -> None:
        try:
            known = isinstance(json.loads(self.further), dict)
        except ValueError:
            known = False
        if not known:
            raise ConfigError(f'--docker {self.further!r} is no JSON object; write such as {{"network_mode": "host"}}')


def runner(name: str, root: Path, data: Path, further: dict[str, Any]) -> Any:
    """KFP's runner for the run called `name`, stopped with this process.

    Args:
        root: folder of runs; containers see it, and `data`, under the same path.
        further: see `Containers`.
    """
    from kfp import local

    owner = root.stat()
    for folder in (root / "logs", root / "kfp" / name):
        folder.mkdir(parents=True, exist_ok=True)
        os.chown(folder, owner.st_uid, owner.st_gid)
    _stop_with_us(name)
    forwarded = {key: value for key, value in os.environ.items() if key.startswith((*FORWARDED, "MMGEN_EVENTS"))}
    ours = {
        "user": f"{owner.st_uid}:{owner.st_gid}",
        "init": True,
        "read_only": True,
        "tmpfs": {"/tmp": "mode=1777"},  # noqa: S108
        "shm_size": "1g",
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "labels": {"mmgen.run": name},
    }
    if store_of(root) or store_of(data):  # containers find the mirrors that are mounted
        forwarded["MMGEN_CACHE"] = str(cache().absolute())
    mounts = [_mount(root, read_only=False), _mount(data, read_only=True), *further.get("mounts", [])]
    environment = forwarded | further.get("environment", {})
    return local.DockerRunner(**{**ours, **further, "mounts": mounts, "environment": environment})


def _mount(folder: Path, *, read_only: bool) -> dict[str, Any]:
    return {"Type": "bind", "Source": str(folder.absolute()), "Target": str(folder.absolute()), "ReadOnly": read_only}


def _stop_with_us(name: str) -> None:
    """A container is the daemon's child, not ours: SIGTERM to us has to be passed on."""

    def stop(*_: object) -> None:
        import docker

        for container in docker.from_env().containers.list(filters={"label": f"mmgen.run={name}"}):
            container.stop(timeout=STOP_SECONDS)
        sys.exit(1)

    signal.signal(signal.SIGTERM, stop)
