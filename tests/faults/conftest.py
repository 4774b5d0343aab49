"""A whole run for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.whole_run import WholeRun, whole_run


@pytest.fixture(scope="session")
def ran(tiny_emoji: Path, tmp_path_factory: pytest.TempPathFactory) -> WholeRun:
    """The whole pipeline, run once a session through the real command line. Look, do not touch."""
    return whole_run(tmp_path_factory.getbasetemp(), tiny_emoji)
