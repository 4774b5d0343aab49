"""Faults 40: secrets that turn up where they do not belong, and anything that reaches out."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.cluster import compile as compiling
from tests.support.whole_run import CANARIES, ROOT, SMALL, WholeRun, command, place

URI = "http://ann:canary-in-the-uri-5e5e@127.0.0.1:9"


def leaks(content: bytes) -> list[str]:
    """Names of the canaries in `content`, as they are or as they stand in an address or in base64."""
    import base64
    import urllib.parse

    found = []
    for name, value in {**CANARIES, "URI": "canary-in-the-uri-5e5e"}.items():
        forms = (value, urllib.parse.quote(value), base64.b64encode(value.encode()).decode().rstrip("="))
        if any(form.encode() in content for form in forms):
            found.append(name)
    return found


def everything(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield path, path.read_bytes()


def test_40_a_planted_canary_is_found(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(f"error: {CANARIES['PGPASSWORD']} refused")
    assert [leaks(content) for _, content in everything(tmp_path)] == [["PGPASSWORD"]]


def test_40_no_secret_of_the_environment_is_in_anything_that_a_run_leaves(ran: WholeRun) -> None:
    """Stages, MLflow's database and artifacts, KFP's folder, logs, events, the report, what was printed."""
    assert ran.returncode in (0, 30), ran.stderr
    looked_at = 0
    for path, content in everything(ran.root):
        assert leaks(content) == [], path
        looked_at += 1
    assert looked_at > 100
    assert leaks(ran.stderr.encode()) == []
    assert leaks(repr(ran.summary).encode()) == []


def test_40_no_secret_is_in_the_compiled_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)
    assert leaks(compiling.compiled()) == []


VERBS: dict[str, tuple[str, ...]] = {
    "plan": ("plan", "emoji"),
    "doctor": ("doctor",),
    "history": ("history", "--recipe", "emoji"),
    "lineage": ("lineage", "0123456789abcdef"),
    "promote": ("promote", "1", "--recipe", "emoji", "--approve"),
    "gc": ("gc", "--dry-run"),
    "a wrong setting": ("run", "emoji", "--set", "seed=none"),
    "a wrong recipe": ("run", "emojy"),
    "no data": ("data", "info", "nothing"),
}


@pytest.mark.parametrize("name", VERBS)
def test_40_no_verb_and_no_error_tells_a_secret(tmp_path: Path, name: str) -> None:
    """With a tracker whose address holds a password, and that is not there."""
    root = tmp_path / "runs"
    where = place(root)
    where["env"] |= CANARIES | {"MLFLOW_TRACKING_URI": URI, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}

    done = subprocess.run(command(*VERBS[name], root=root), **where, check=False, capture_output=True)

    assert leaks(done.stdout + done.stderr) == []
    assert b"Traceback" not in done.stderr


def test_40_no_secret_is_an_argument_of_a_process(tmp_path: Path) -> None:
    """A server with passwords in its environment, looked at from outside as any user of the machine may."""
    where = place(tmp_path / "runs")
    where["env"] |= CANARIES
    line = command("ui", "--port", "0", root=tmp_path / "runs")
    with subprocess.Popen(
        line, **where, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    ) as ui:
        try:
            assert ui.stdout is not None
            ui.stdout.readline()
            lines = [
                path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if _session(path.parent) == ui.pid
            ]
        finally:
            os.killpg(ui.pid, 9)
    assert lines
    assert [leaks(found) for found in lines] == [[] for _ in lines]


def _session(process: Path) -> int | None:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[3])
    except (OSError, IndexError):
        return None


@pytest.mark.minutes
def test_40_a_whole_run_needs_no_network(tmp_path: Path, tiny_emoji: Path) -> None:
    """In a network namespace of its own, with nothing in it but loopback."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("a network namespace needs root and unshare")
    shutil.copytree(tiny_emoji, tmp_path / "data" / "emoji")
    root = tmp_path / "runs"
    line = command("run", "emoji", "--json", root=root, data=tmp_path / "data", small=True)
    inside = 'ip link set lo up 2>/dev/null; exec "$@"'

    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", inside, "sh", *line],
        **place(root),
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode in (0, 30), done.stderr


REACHING = """
import socket, sys
real = socket.socket.connect
def connect(self, address):
    host = address[0] if isinstance(address, tuple) else ""
    if host and host not in ("127.0.0.1", "::1", "localhost"):
        print("REACHED", host, file=sys.stderr)
        raise OSError("blocked")
    return real(self, address)
socket.socket.connect = connect
def look_up(host, *rest, **more):
    print("ASKED", host, file=sys.stderr)
    raise OSError("blocked")
socket.getaddrinfo = look_up
"""


def test_40_nothing_reaches_out_by_itself(tmp_path: Path, tiny_emoji: Path) -> None:
    """Validation imports Great Expectations, registration MLflow: none of them looks anything up."""
    (tmp_path / "sitecustomize.py").write_text(REACHING)
    where = place(tmp_path / "runs")
    where["env"]["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{where['env']['PYTHONPATH']}"
    settings = [word for setting in SMALL for word in ("--set", setting)]
    root = ("--root", str(tmp_path / "runs"))
    lines = [
        [*command("data", "validate", "emoji", *settings, *root, "--data", str(tiny_emoji.parent), "--out", "out")],
        [*command("history", "--recipe", "emoji", *root)],
        [*command("doctor", *root)],
    ]
    for line in lines:
        done = subprocess.run(line, **where, check=False, capture_output=True, text=True)
        assert "REACHED" not in done.stderr + done.stdout
        assert "ASKED" not in done.stderr + done.stdout


def test_40_secrets_are_named_in_no_file_of_the_repository() -> None:
    """Nothing that looks like a key or a token is committed."""
    import re

    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=False, capture_output=True).stdout.split(b"\0")
    shapes = re.compile(
        rb"AKIA(?!CANARY)[A-Z0-9]{16}|ghp_[A-Za-z0-9]{36}|-----BEGIN [A-Z ]*PRIVATE KEY-----|xox[bp]-[0-9A-Za-z-]{20,}"
    )
    for name in filter(None, listed):
        path = ROOT / os.fsdecode(name)
        if path.is_file() and path != Path(__file__):
            assert not shapes.search(path.read_bytes()), path
