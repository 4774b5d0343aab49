"""Fixtures that several unit tests share."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmgen.ops.tracking.client import connected, tracking_uri


@pytest.fixture(scope="session", autouse=True)
def own_tracker() -> Iterator[None]:
    """Whatever tracker the developer uses, tests do not."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MMGEN_TRACKING_URI", "MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "KFP_MLFLOW_CONFIG"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's SQLite database, empty: made once, copied by each test that needs one."""
    root = tmp_path_factory.mktemp("template")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own imports warn
        with connected(tracking_uri(root)):
            import mlflow.pyfunc  # noqa: F401  # now, as long as warnings are off
    return root / "mlflow.db"


@pytest.fixture
def root(tmp_path: Path, migrated_database: Path) -> Path:
    """Root of runs with a tracking database of its own."""
    folder = tmp_path / "runs"
    folder.mkdir()
    shutil.copy(migrated_database, folder / "mlflow.db")
    return folder
