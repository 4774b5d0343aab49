"""`mmgen track`: what waits is sent, the dead are ended, and both say so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from mmgen.errors import TrackingError
from mmgen.ops.tracking import outbox
from mmgen.ops.tracking.client import connected, tracking_uri
from mmgen.ops.tracking.mlflow_runs import HEARTBEAT
from mmgen.ops.tracking.stage_run import stage_run
from pipelines.cli.main import cli
from tests.ops.conftest import migrated_database, own_tracker, root
from tests.support.runs import small_run

__all__ = ["migrated_database", "own_tracker", "root"]


def test_flush_sends_what_waits_and_says_what_is_left(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        with stage_run(small_run(root), "validate", tmp_path):
            pass
        refused = CliRunner().invoke(cli, ["track", "flush", "--root", str(root)])
    sent = CliRunner().invoke(cli, ["track", "flush", "--root", str(root), "--json"])

    assert refused.output == "0 stages sent, 1 left\n"
    assert isinstance(refused.exception, TrackingError)
    assert json.loads(sent.output) == {"sent": 1, "left": 0, "problems": []}
    assert outbox.waiting(root) == []


def test_reap_ends_a_run_without_a_sign_of_life_and_no_other(root: Path) -> None:
    with connected(tracking_uri(root)) as client:
        dead, fresh, foreign = (
            client.create_run("0", tags=tags).info.run_id
            for tags in ({HEARTBEAT: "1000"}, {HEARTBEAT: "99999999999"}, {})
        )
        client.set_tag(fresh, HEARTBEAT, str(client.get_run(fresh).info.start_time // 1000))

        done = CliRunner().invoke(cli, ["track", "reap", "--root", str(root), "--watch", "0", "--json"])

        assert json.loads(done.output) == {"ended": [dead]}
        states = {run_id: client.get_run(run_id).info.status for run_id in (dead, fresh, foreign)}
    assert states == {dead: "KILLED", fresh: "RUNNING", foreign: "RUNNING"}
