"""One story for a whole session: what a test leaves on the cluster, the next one finds.

What earlier sessions have left is neither found nor in the way: each session has a root, data and a seed of its own.
"""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

import pytest

from tests.cluster.kubeflow import NEEDED, Kubeflow
from tests.support.whole_run import small_params


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs a cluster."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def kubeflow(tmp_path_factory: pytest.TempPathFactory, tiny_emoji: Path) -> Kubeflow:
    """The cluster, with a root and a data set of this session's own."""
    lacking = [name for name in NEEDED if not os.environ.get(name)]
    lacking += [program for program in ("kubectl",) if shutil.which(program) is None]
    if lacking:
        pytest.skip(f"no cluster to test on: {', '.join(lacking)} missing; see docs/cluster.md")
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "params.yaml").write_text(small_params(seed=secrets.randbelow(10**6)))
    own = f"{os.environ['MMGEN_ROOT'].rstrip('/')}-test-{secrets.token_hex(3)}"
    found = Kubeflow(folder, f"{own}/runs", f"{own}/data", os.environ.get("KFP_NAMESPACE", "mmgen"))
    shutil.copytree(tiny_emoji, folder / "data" / "emoji")
    found.mmgen("data", "push", "emoji", found.data)
    return found
