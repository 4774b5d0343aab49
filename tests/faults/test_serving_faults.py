"""Fault 39: hostile requests and bad starts of a server.

One server with small limits takes all of it, so each test also says that those before it did no lasting harm.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mmgen.files import seal
from tests.support.serving import (
    DRAW,
    PATIENCE,
    ROOT,
    Server,
    answered,
    environment,
    fill_lively_model,
    head,
    raw,
    started,
)

BODY = 4 * 2**20
RECEIVE = 4.0
REQUEST, SHORT = 3600.0, 3.0
"""Seconds for a request: so many that only a client that goes ends one, and so few that the server ends it."""
WAITING = 3
ENDLESS = {**DRAW, "options": {"steps": 1000}}
"""On the server below, an hour of work."""

SERVER = f"""
import collections, signal, sys, time
from pathlib import Path
from torch.nn.modules.module import register_module_forward_pre_hook
from mmgen.ops.serving.limits import CALL, Limits
from mmgen.ops.serving.server import serve

calls, modules = {{}}, collections.Counter()
told = open(sys.argv[2], "a", buffering=1)

def slow(module, given):  # a sampler that is slow without taking a core: who asks many steps waits for an hour
    call = CALL.get(None)
    if call is None:
        return
    calls[id(call)] = call  # held, so that no later call has its number
    modules[id(call)] += 1
    if modules[id(call)] == 1:
        told.write("begun\\n")
    if modules[id(call)] == 2000:
        told.write("endless\\n")
    if modules[id(call)] > 2000:
        time.sleep(0.2)

register_module_forward_pre_hook(slow)
limits = Limits(
    body_bytes={BODY}, held_bytes={3 * BODY}, header_seconds={RECEIVE}, receive_seconds={RECEIVE}, waiting={WAITING},
    request_seconds={REQUEST}, grace_seconds={PATIENCE},
)
for number, seconds in ((signal.SIGUSR1, {SHORT}), (signal.SIGUSR2, {REQUEST})):
    signal.signal(number, lambda *_, seconds=seconds: object.__setattr__(limits, "request_seconds", seconds))
serve(Path(sys.argv[1]), "tiny", host="127.0.0.1", port=0, limits=limits)
"""


@dataclass(frozen=True)
class Served:
    """The server, the folder that it was started from, and what its model says of the calls that it works on."""

    server: Server
    folder: Path
    told: Path

    def count(self, word: str) -> int:
        """How many calls have `begun`, or are `endless`."""
        return self.told.read_text().split().count(word)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sealed folder with a tiny real model. Copy it before you change it."""
    folder = tmp_path_factory.mktemp("model") / "train"
    folder.mkdir()
    fill_lively_model(folder)
    seal(folder)
    return folder


@pytest.fixture(scope="module")
def served(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    scratch = tmp_path_factory.mktemp("served")
    folder, told = scratch / "train", scratch / "told"
    shutil.copytree(model, folder)
    told.touch()
    with started(scratch / "log", "-c", SERVER, str(folder / "model"), str(told)) as server:
        yield Served(server, folder, told)


@pytest.fixture
def server(served: Served) -> Iterator[Server]:
    """The server; it is well and has grown little when the test is over."""
    found = served.server
    before = found.rss()
    yield found
    assert found.ask("/health")[0] == 200
    assert found.ask("/v1/generate", DRAW)[0] == 200
    assert found.rss() - before < 100


def connected(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)


def request(asked: dict[str, Any], more: str = "") -> bytes:
    data = json.dumps(asked).encode()
    return head(f"Content-Length: {len(data)}{more}") + data


@contextlib.contextmanager
def working(served: Served) -> Iterator[socket.socket]:
    """While the model works on what does not end; the client goes when the block is left."""
    before = served.count("endless")
    with connected(served.server) as connection:
        connection.sendall(request(ENDLESS))
        until(lambda: served.count("endless") > before)
        yield connection


def test_39_a_body_of_200_mb_is_refused_unread(server: Server) -> None:
    status, answer = raw(server, head(f"Content-Length: {200 * 10**6}"))  # of the body no byte is ever sent

    assert (status, answer) == (
        413,
        {"error": f"a body of 200000000 bytes; at most {BODY} are taken: send smaller media, or fewer"},
    )


def test_39_a_body_that_is_chunked_without_end_is_refused_where_the_limit_is(server: Server) -> None:
    chunk = b"100000\r\n" + b" " * 2**20 + b"\r\n"
    status, answer = raw(server, head("Transfer-Encoding: chunked"), *[chunk] * 100)

    assert status == 413
    assert answer["error"].startswith("a body of 4")


def test_39_a_content_length_that_promises_more_than_comes_is_answered_by_the_server(server: Server) -> None:
    status, answer = raw(server, head("Content-Length: 1000"), b'{"given":')

    assert (status, answer) == (408, {"error": "9 bytes of a body in 4 s; send all of it in that time"})


def test_39_a_content_length_that_promises_less_than_comes_is_an_error_of_the_client(server: Server) -> None:
    status, _ = raw(server, head("Content-Length: 3"), b'{"given": {}, "to": "image"}')

    assert status == 422


def test_39_one_byte_a_time_is_refused_and_holds_up_nobody(server: Server) -> None:
    refused: list[tuple[int, Any]] = []
    pieces = [head("Content-Length: 1000"), *[b" "] * 20]
    slow = threading.Thread(target=lambda: refused.append(raw(server, *pieces, pause=0.3)))
    slow.start()
    assert server.ask("/v1/generate", DRAW)[0] == 200
    slow.join(PATIENCE)
    assert [status for status, _ in refused] == [408]


def test_39_headers_that_never_end_close_the_connection(server: Server) -> None:
    with connected(server) as connection:
        connection.sendall(b"POST /v1/generate HTTP/1.1\r\nHost: ")
        assert connection.recv(100) == b""


@pytest.mark.parametrize("path", ["/v1/generate", "/invocations"])
@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"[" * 100_000 + b"]" * 100_000, "JSON of more than 16 lists"),
        (b'{"a":' * 100_000, "JSON of more than 16 lists"),
        (b"[" + b"[]," * 10**6 + b"[]]", "JSON of more than 10000 values"),
        (b'{"inputs": "' + b"a" * 10**6, "the body is no JSON (Unterminated string"),
        (b'{"inputs": ' + b"1" * 10**6 + b"}", "the body is no JSON (Exceeds the limit"),
        (b'{"to": "image", "options": {"guidance": NaN}}', "the body is no JSON (NaN is no number)"),
        (b'{"to": "image", "options": {"guidance": 1e999}}', "the body is no JSON (1e999 is no number)"),
        (b"\xff\xfe{}", "the body is no JSON"),
        (b"", "the body is no JSON"),
    ],
    ids=["deep", "deep objects", "wide", "string", "number", "nan", "infinite", "not utf-8", "empty"],
)
def test_39_json_that_is_none_or_too_much_is_refused_before_it_is_parsed(
    served: Served, path: str, body: bytes, told: str
) -> None:
    status, answer = served.server.ask(path, body)

    assert (status, answer["error"][: len(told)]) == (422, told)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"text": "red heart", "n": 10**9}, "n '1000000000'; want a whole number from 1 to 16"),
        ({"text": "red heart", "seed": -1}, "seed '-1'; want a whole number from 0"),
        ({"text": "red heart", "options": {"steps": 10**9}}, "option 'steps' is 1000000000; want at most 1000"),
        ({"text": "red heart", "options": {"guidance": "nan"}}, "option 'guidance' is 'nan'; want a number, such as"),
        ({"text": "red heart", "options": {"steps": 2.5}}, "option 'steps' is '2.5'; want a whole number above 0"),
        ({"text": "red heart", "options": {"to": "text"}}, "options \"{'to': 'text'}\"; want an object"),
        ({"image": "no base64"}, "column 'image' holds no base64"),
        ({"image": "aGVsbG8="}, "\"column 'image'\": "),
        ({"text": "red heart", "to": "sound"}, "unknown pair 'text to sound'"),
        ({"text": "red\u202eheart"}, "\"column 'text'\": direction mark U+202E"),
        ({"text": "red\nheart\x00"}, "\"column 'text'\": control character"),
        ({"text": "a" * 100_000}, "\"column 'text'\": 100000 bytes of text"),
    ],
)
def test_39_a_row_that_asks_too_much_or_the_impossible_is_told_so(
    served: Served, row: dict[str, Any], told: str
) -> None:
    status, answer = served.server.ask("/invocations", {"inputs": [row]})

    assert (status, answer["error"][: len(told)]) == (422, told)


def test_39_other_content_than_json_is_refused(server: Server) -> None:
    status, answer = server.ask("/invocations", b"PAR1", {"Content-Type": "application/vnd.apache.parquet"})

    assert (status, answer) == (
        415,
        {"error": "content type 'application/vnd.apache.parquet'; send application/json"},
    )


def test_39_two_hundred_at_once_get_an_answer_or_a_refusal_and_health_still_answers(
    served: Served, server: Server
) -> None:
    found: list[int] = []

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request(DRAW))
        line = await reader.readline()
        writer.close()
        found.append(int(line.split()[1]))

    async def all_of_them() -> None:
        await asyncio.wait_for(asyncio.gather(*[one() for _ in range(200)]), PATIENCE)

    with working(served):
        crowd = threading.Thread(target=lambda: asyncio.run(all_of_them()))
        crowd.start()
        assert server.ask("/health")[0] == 200
        assert server.ask("/ping")[0] == 200
        until(lambda: len(found) >= 200 - WAITING)
        assert found == [429] * (200 - WAITING)
    crowd.join(PATIENCE)

    assert found == [429] * (200 - WAITING) + [200] * WAITING


def test_39_work_that_nobody_waits_for_any_more_is_cancelled(served: Served, server: Server) -> None:
    with working(served):
        pass

    assert server.ask("/v1/generate", DRAW)[0] == 200  # it would wait for as long as a request may take


def test_39_who_goes_while_waiting_leaves_the_queue(served: Served, server: Server) -> None:
    with working(served):
        with contextlib.ExitStack() as leaving:
            for _ in range(WAITING):
                leaving.enter_context(connected(server)).sendall(request(ENDLESS))
            until(lambda: waits_or_is_refused(server) == "refused")
        until(lambda: waits_or_is_refused(server) == "waits")


def waits_or_is_refused(server: Server) -> str:
    """What becomes of a request while the model works on another one; its client does not stay."""
    with connected(server) as connection:
        connection.sendall(request(DRAW, "\r\nConnection: close"))
        connection.settimeout(1)
        try:
            line = connection.recv(100).split()
        except TimeoutError:
            return "waits"
        assert line[1] == b"429", line
        return "refused"


def test_39_work_that_takes_too_long_is_answered_and_ended(server: Server) -> None:
    server.process.send_signal(signal.SIGUSR1)
    try:
        with connected(server) as connection:
            connection.sendall(request(ENDLESS))
            assert answered(connection) == (503, {"error": "no answer within 3 s; ask for less, or later"})
    finally:
        server.process.send_signal(signal.SIGUSR2)
    assert server.ask("/v1/generate", DRAW)[0] == 200


def test_39_a_model_that_is_swapped_while_it_is_served_has_no_effect(served: Served) -> None:
    before = served.server.ask("/v1/generate", DRAW)
    for path in (served.folder / "model").iterdir():
        path.write_bytes(b"x" * 64)

    assert served.server.ask("/v1/generate", DRAW) == before
    assert before[0] == 200


def test_39_nothing_of_what_was_asked_is_in_the_log_and_a_stop_ends_what_runs(served: Served) -> None:
    """The last test with this server: it stops it."""
    server, before = served.server, served.count("begun")
    with connected(server) as connection:
        connection.sendall(request({**DRAW, "options": {"steps": 20}}))
        until(lambda: served.count("begun") > before)
        assert server.stop() == 0
        assert answered(connection)[0] == 200

    lines = set(server.log.read_text().splitlines())
    assert not [line for line in lines if "heart" in line or "Traceback" in line], lines


@pytest.mark.parametrize("damage", ["altered", "cut", "gone"])
def test_39_a_model_whose_seal_is_wrong_is_not_served(model: Path, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "train"
    shutil.copytree(model, folder)
    weights = folder / "model" / "weights.safetensors"
    data = weights.read_bytes()
    if damage == "gone":
        weights.unlink()
    else:
        weights.write_bytes(data[:-1] if damage == "cut" else data[:-1] + bytes([data[-1] ^ 1]))
    line = [sys.executable, "-m", "pipelines.cli", "serve", "--model", str(folder), "--port", "0"]

    done = subprocess.run(
        line, env=environment(), cwd=ROOT, check=False, capture_output=True, text=True, timeout=PATIENCE
    )

    assert (done.returncode, done.stdout) == (40, "")
    assert len(done.stderr.splitlines()) == 1
    assert "weights.safetensors" in done.stderr
