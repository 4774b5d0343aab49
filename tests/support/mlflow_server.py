"""A real MLflow server for tests: over a real PostgreSQL where this machine has one, else over SQLite."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmgen.ops.tracking.server import ServerConfig

PASSWORD = "not-to-be-seen-4711"
"""Of the database; tests look that nobody sees it."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def postgres_programs() -> Path | None:
    """Folder of PostgreSQL's programs, which Debian keeps out of PATH; the newest when there are several."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    whole = [folder for folder in folders if (folder / "initdb").is_file() and (folder / "postgres").is_file()]
    usable = os.getuid() != 0 or shutil.which("setpriv") is not None  # postgres refuses to run as root
    return whole[-1] if whole and usable else None


def store_in_words() -> str:
    """Which database the tests of the tracker use here; a line of pytest's header."""
    programs = postgres_programs()
    return f"PostgreSQL ({programs})" if programs else "SQLite (no PostgreSQL on this machine)"


@contextlib.contextmanager
def postgres() -> Iterator[tuple[str, dict[str, str]]]:
    """A PostgreSQL of our own on a Unix socket: its URI without the password, and the environment that holds it."""
    programs = postgres_programs()
    assert programs is not None
    folder = Path(tempfile.mkdtemp(prefix="mmgen-postgres-"))  # outside pytest's folders, which only root may enter
    passfile = folder / "pgpass"
    passfile.write_text(f"*:*:*:mlflow:{PASSWORD}\n")
    passfile.chmod(0o600)
    words = folder / "password"
    words.write_text(PASSWORD)
    data = folder / "data"
    data.mkdir()
    other: list[str] = []
    if os.getuid() == 0:
        other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        for path in (folder, words, data):
            os.chown(path, 65534, 65534)
    initdb = [str(programs / "initdb"), "-D", str(data), "-U", "mlflow", "--auth=scram-sha-256", f"--pwfile={words}"]
    subprocess.run([*other, *initdb, "--no-sync"], check=True, capture_output=True, cwd=folder)
    words.unlink()
    run = [str(programs / "postgres"), "-D", str(data), "-k", str(folder), "-c", "listen_addresses=", "-c", "fsync=off"]
    server = subprocess.Popen([*other, *run], stderr=subprocess.DEVNULL, cwd=folder)
    try:
        environment = {"PGPASSFILE": str(passfile)}
        ready = [str(programs / "pg_isready"), "-q", "-h", str(folder)]
        deadline = time.monotonic() + 60
        while subprocess.run(ready, check=False).returncode:
            assert server.poll() is None, "postgres ended at once"
            assert time.monotonic() < deadline, "postgres did not come up"
            time.sleep(0.1)
        yield f"postgresql+psycopg2://mlflow@/postgres?host={folder}", environment
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)
        shutil.rmtree(folder)


class MlflowServer:
    """The real server in a session of its own, so that it and its workers can be killed at once."""

    def __init__(self, config: ServerConfig, environment: dict[str, str], log: Path) -> None:
        self.config = config
        self.uri = f"http://127.0.0.1:{config.port}"
        self._environment = config.environment({**os.environ, **environment})
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.config.command(), env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 180
        while True:
            assert self._process.poll() is None, f"the server ended:\n{self.log.read_text()[-2000:]}"
            assert time.monotonic() < deadline, "the server did not come up"
            with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
                urllib.request.urlopen(f"{self.uri}/health", timeout=5).close()
                return
            time.sleep(0.2)

    def kill(self) -> None:
        """SIGKILL it with all its workers, in the middle of whatever they do."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):  # it ended by itself
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    @property
    def processes(self) -> list[int]:
        """Ids of the server and its workers."""
        assert self._process is not None
        group = self._process.pid
        return [
            int(path.parent.name)
            for path in Path("/proc").glob("[0-9]*/stat")
            if int(path.read_text().rpartition(")")[2].split()[2]) == group
        ]


@contextlib.contextmanager
def serving(folder: Path, artifacts: str = "", environment: dict[str, str] | None = None) -> Iterator[MlflowServer]:
    """A running server.

    Args:
        folder: for its log and, by default, its artifacts and its SQLite file.
        artifacts: `s3://bucket/prefix`, say.
        environment: what it needs besides, such as keys of S3.
    """
    with contextlib.ExitStack() as stack:
        if postgres_programs():
            store, secrets = stack.enter_context(postgres())
        else:
            store, secrets = f"sqlite:///{folder / 'mlflow.db'}", {}
        config = ServerConfig(store=store, artifacts=artifacts or str(folder / "artifacts"), port=free_port())
        server = MlflowServer(config, {**secrets, **(environment or {})}, folder / "server.log")
        stack.callback(server.kill)
        server.start()
        yield server


@pytest.fixture(scope="session")
def running_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """One server for all tests of a session; start it again when you killed it."""
    with serving(tmp_path_factory.mktemp("mlflow")) as server:
        yield server
