"""Upload of a checkpoint by `ObjectStore.put_file` and by boto3's own transfer, on a local S3 server (SeaweedFS).

    python -m benchmarks.store --gib 1 --repeats 3

Each upload has a process of its own, the two take turns. Memory is the process's peak; a file of a tenth is uploaded as
well, to show that it does not grow with the file.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mmgen.files import sha256_file
from tests.support.s3 import ACCESS, BUCKET, SECRET, Server


def upload(how: str, path: Path, sha256: str) -> None:
    """Child side: one upload; prints seconds, CPU-seconds and MiB."""
    from mmgen.ops.storage.objects import ObjectStore

    store = ObjectStore.at(f"s3://{BUCKET}")
    store.exists("ready")  # the connection and boto3's own set-up are no part of a transfer
    if how == "boto3":
        import boto3

        client = boto3.client("s3")
        client.head_object(Bucket=BUCKET, Key="ready")
    began, cpu = time.monotonic(), time.process_time()
    if how == "boto3":
        client.upload_file(str(path), BUCKET, "checkpoint")
    else:
        store.put_file(path, "checkpoint", sha256=sha256)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([time.monotonic() - began, time.process_time() - cpu, peak]))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, default=1.0)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        server = Server(Path(scratch) / "s3")
        server.start()
        os.environ |= {"AWS_ENDPOINT_URL_S3": server.endpoint, "AWS_DEFAULT_REGION": "us-east-1"}
        os.environ |= {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET}
        print("| upload | GiB | MB/s, median | MB/s, all | CPU-s | peak MiB |\n|---|---|---|---|---|---|")
        for gib in (given.gib / 10, given.gib):
            path, block = Path(scratch) / "checkpoint", os.urandom(1 << 24)
            with path.open("wb") as file:
                for _ in range(round(gib * 64)):
                    file.write(block)
            sha256, rows = sha256_file(path), {"boto3": [], "put_file": []}
            for _ in range(given.repeats):
                for how, found in rows.items():
                    command = [sys.executable, "-m", "benchmarks.store", "--child", how, str(path), sha256]
                    done = subprocess.run(command, check=True, capture_output=True, text=True)
                    found.append(json.loads(done.stdout))
            for how, found in rows.items():
                speeds = [path.stat().st_size / 1e6 / seconds for seconds, _, _ in found]
                every = ", ".join(f"{speed:.0f}" for speed in speeds)
                cpu, peak = statistics.median(row[1] for row in found), max(row[2] for row in found)
                print(f"| {how} | {gib:.1f} | {statistics.median(speeds):.0f} | {every} | {cpu:.1f} | {peak:.0f} |")
        server.kill()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        upload(sys.argv[2], Path(sys.argv[3]), sys.argv[4])
    else:
        main()
