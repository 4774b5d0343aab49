"""How an MLflow server is started: one place for `mmgen ui`, the tests and whoever writes a manifest.

    store        SQLite for one machine, PostgreSQL for more; named by environment only, since a URI may hold a password
    artifacts    a folder or `s3://bucket/prefix`; clients reach it through the server and need no keys of their own
    host check   only the names that are listed are answered, so that no web page can reach the server by DNS tricks

docs/tracking.md has the same settings for a cluster.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from mmgen.ops.tracking.client import ENVIRONMENT

SETTINGS = {
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    # Without this the server starts seven more processes of some 230 MB each, for jobs that nobody asks for.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}
"""Settings of every server, whatever the environment says."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerConfig:
    """One MLflow server."""

    store: str
    """`sqlite:///...` or `postgresql+psycopg2://user@host/database`; its password comes by PGPASSFILE or PGPASSWORD."""
    artifacts: str
    """A folder, or `s3://bucket/prefix` with MLFLOW_S3_ENDPOINT_URL and AWS_* in the environment."""
    port: int
    host: str = "127.0.0.1"
    """Address to listen at."""
    allowed_hosts: tuple[str, ...] = ("localhost", "127.0.0.1")
    """Host names that clients may ask for, without a port."""

    def command(self) -> list[str]:
        """Arguments of the process; no secret is among them."""
        hosts = ",".join(entry for name in self.allowed_hosts for entry in (name, f"{name}:*"))
        words = ["--host", self.host, "--port", str(self.port), "--workers", "1", "--allowed-hosts", hosts]
        return [sys.executable, "-m", "mlflow", "server", *words, "--artifacts-destination", self.artifacts]

    def environment(self, given: Mapping[str, str] = os.environ) -> dict[str, str]:
        """Environment of the process: what is given, with ours on top."""
        return {**ENVIRONMENT, **given, **SETTINGS, "MLFLOW_BACKEND_STORE_URI": self.store}
