"""A real server of a tiny real model in a process of its own, for tests that ask it over HTTP."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.ops.registry.test_registry import fill_tiny_model

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 300
"""Seconds that a start may take, and an answer that is sure to come."""
JSON = {"Content-Type": "application/json"}
DRAW = {"given": {"text": "red heart"}, "to": "image"}


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    process: subprocess.Popen[str]
    port: int
    log: Path
    """What it writes to standard error."""

    def ask(self, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """Status and JSON; a GET when there is no body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            connection.request("GET" if data is None else "POST", path, data, JSON if headers is None else headers)
            answer = connection.getresponse()
            text = answer.read()
        return answer.status, json.loads(text) if text.strip() else None

    def rss(self) -> int:
        """Memory of the process in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) // 1024  # type: ignore[index]

    def stop(self) -> int:
        """Exit code after a polite request to end."""
        self.process.terminate()
        return self.process.wait(PATIENCE)


def fill_lively_model(out: Path) -> None:
    """A tiny model, not trained, whose pictures differ by caption and by seed."""
    import torch

    from mmgen import models

    fill_tiny_model(out)
    model = models.load(out / "model")
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weights in model.parameters():
            weights += 0.3 * torch.randn(weights.shape, generator=rng)
    models.save(model, out / "model")


def environment() -> dict[str, str]:
    """Of a child: no tracker of the developer's, one thread."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return {**own, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@contextlib.contextmanager
def started(log: Path, *command: str) -> Iterator[Server]:
    """A server by `python COMMAND`, ready; its first line must name the address."""
    line = [sys.executable, *command]
    with (
        log.open("w") as errors,
        subprocess.Popen(line, env=environment(), stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            found = re.search(r"http://127\.0\.0\.1:(\d+)", process.stdout.readline())
            assert found, log.read_text()
            server = Server(process, int(found[1]), log)
            until = time.monotonic() + PATIENCE
            while server.ask("/ping")[0] != 200:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < until, "not ready in time"
                time.sleep(0.1)
            yield server
        finally:
            process.kill()


def head(length: str, path: str = "/v1/generate") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{length}\r\n\r\n".encode()


def raw(server: Server, *pieces: bytes, pause: float = 0.0) -> tuple[int, Any]:
    """Status and JSON of the answer to bytes that no decent client would send."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as connection:
        with contextlib.suppress(ConnectionError):  # refused before all was sent
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause)
        return answered(connection)


def answered(connection: socket.socket) -> tuple[int, Any]:
    """Status and JSON of all that comes until the connection is closed."""
    received = b""
    with contextlib.suppress(ConnectionResetError):  # closed with bytes of ours unread; the answer came before
        while chunk := connection.recv(65536):
            received += chunk
    headers, _, body = received.partition(b"\r\n\r\n")
    assert b"\n" not in body, body
    assert body.count(b"error") == 1 or headers.split()[1] == b"200", received
    return int(headers.split()[1]), json.loads(body)
