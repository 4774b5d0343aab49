"""What pods are told of a bucket is its address, never a folder of the machine that submits."""

from __future__ import annotations

import json
from pathlib import Path

from mmgen.ops.runs.data_store import push_data
from tests.support import s3 as laboratory
from tests.support.cluster import submitting
from tests.support.cluster.kfp_api import StandIn
from tests.support.cluster.submitting import verb
from tests.support.s3 import BUCKET, Proxy

api = submitting.api
s3_server, s3 = laboratory.s3_server, laboratory.s3


def test_a_run_and_a_schedule_get_the_addresses_of_the_bucket(
    api: StandIn, s3: Proxy, tiny_emoji: Path, tmp_path: Path
) -> None:
    root, data = f"s3://{BUCKET}/addresses/runs", f"s3://{BUCKET}/addresses/data"
    push_data(tiny_emoji, data)
    here = {"MMGEN_ROOT": root, "MMGEN_CACHE": str(tmp_path / "cache")}

    submitted = verb(api, tmp_path / "none", "submit", "emoji", "--json", "--data", data, **here)
    scheduled = verb(api, tmp_path / "none", "schedule", "emoji", "--cron", "30 4 * * 1", "--data", data, **here)

    assert (submitted.returncode, scheduled.returncode) == (0, 0), submitted.stderr + scheduled.stderr
    (run,), (schedule,) = api.runs.values(), api.recurring.values()
    for told in (run["runtime_config"]["parameters"], schedule["runtime_config"]["parameters"]):
        assert (told["root"], told["data"]) == (root, data)
        assert str(tmp_path) not in json.dumps(told)
