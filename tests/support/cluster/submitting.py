"""What the tests about runs on a cluster share: the stand-in of its API server, a client of it and requests."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.cluster.client import Cluster, connect
from pipelines.cluster.images import UNPUSHED
from pipelines.cluster.submit import Request
from tests.support.cluster.kfp_api import StandIn
from tests.support.runs import small_run
from tests.support.whole_run import command, place


@pytest.fixture
def api() -> Iterator[StandIn]:
    with StandIn() as stand_in:
        yield stand_in


def cluster_of(api: StandIn, **environment: str) -> Cluster:
    return connect({"KFP_ENDPOINT": api.endpoint, **environment})


def request_of(root: Path, number: int = 1, **more: Any) -> Request:
    return Request(run=small_run(root, number), root="/mnt/runs", data="/mnt/data", promote=False, **more)


def verb(
    api: StandIn, root: Path, *arguments: str, data: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """A verb of the command line, in a process of its own."""
    kind = place(root)
    kind["env"] = {name: value for name, value in kind["env"].items() if not name.startswith("KFP_")}
    kind["env"] |= {
        "KUBECONFIG": str(root / "none"),
        "KFP_ENDPOINT": api.endpoint,
        "MMGEN_IMAGES": f"cpu={UNPUSHED.cpu} gpu={UNPUSHED.gpu}",
    }
    kind["env"] |= environment
    extra = {"root": root, "data": data} if data else {}
    return subprocess.run(command(*arguments, **extra), **kind, check=False, capture_output=True, text=True)
