"""A team's set-up on one machine: roots and data in a bucket, MLflow on PostgreSQL with its artifacts in the bucket."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mmgen.ops.runs.data_store import push_data
from mmgen.ops.storage.objects import ObjectStore
from tests.support import s3 as laboratory
from tests.support.mlflow_server import serving, store_in_words
from tests.support.s3 import ACCESS, BUCKET, SECRET, Proxy
from tests.support.whole_run import SMALL, place

s3_server, s3 = laboratory.s3_server, laboratory.s3


@pytest.mark.minutes
def test_two_machines_share_a_champion_its_stages_and_its_history(
    s3: Proxy, tiny_emoji: Path, tmp_path: Path, record_property: Any
) -> None:
    record_property("store", store_in_words())
    url = f"s3://{BUCKET}/team"
    keys = {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1"}
    push_data(tiny_emoji, f"{url}/data")
    with serving(tmp_path, f"s3://{BUCKET}/mlflow", {**keys, "MLFLOW_S3_ENDPOINT_URL": s3.endpoint}) as server:

        def verb(machine: str, *words: str) -> Any:
            environment = place(tmp_path / machine)["env"] | {
                "MMGEN_CACHE": str(tmp_path / machine),
                "MLFLOW_TRACKING_URI": server.uri,
            }
            line = [sys.executable, "-m", "pipelines.cli", *words, "--json", "--root", f"{url}/runs"]
            done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode in (0, 30), done.stderr
            return json.loads(done.stdout)

        small = [word for setting in SMALL for word in ("--set", setting)]
        ran = verb("one", "run", "emoji", *small, "--data", f"{url}/data")
        promoted = verb("two", "promote", ran["model"]["version"], "--recipe", "emoji", "--approve")
        again = verb("two", "run", "emoji", *small, "--data", f"{url}/data")
        moves = verb("one", "history", "--recipe", "emoji", "--moves")
        checked = verb("one", "lineage", "--check")

    assert {stage["state"] for stage in ran["stages"].values()} == {"ran"}
    assert {stage["state"] for stage in again["stages"].values()} == {"cached"}
    assert promoted["aliases"] == ["champion"]
    assert [move["run_key"] for move in moves] == [ran["run_key"]]
    assert checked["disagreements"] == []
    assert {"MLflow run", "registered model", "promotion"} <= set(checked["compared"])
    stored = ObjectStore.at(f"s3://{BUCKET}")
    assert any(key.endswith("weights.safetensors") for key in stored.keys("mlflow/"))
    assert any(key.endswith("SEAL.json") for key in stored.keys("team/runs/stages/train/"))
    print(json.dumps({"run": ran, "moves": moves, "lineage": checked}, indent=1))
