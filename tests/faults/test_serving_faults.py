"""Fault 39: hostile requests and bad starts of a server.

One server with small limits takes all of it, so each test also says that those before it did no lasting harm.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mmgen.files import seal
from tests.serving import DRAW, ROOT, Server, answered, environment, fill_lively_model, head, raw, started

BODY = 4 * 2**20
RECEIVE = 2.0
REQUEST = 12.0
WAITING = 3
ENDLESS = {**DRAW, "options": {"steps": 1000}}
"""On the server below, minutes of work."""

SERVER = f"""
import collections, sys, time
from pathlib import Path
from torch.nn.modules.module import register_module_forward_pre_hook
from mmgen.ops.limits import CALL, Limits
from mmgen.ops.serving import serve

modules = collections.Counter()

def slow(module, given):  # a sampler that is slow without taking a core: who asks many steps waits for minutes
    call = id(CALL.get(None))
    modules[call] += 1
    if modules[call] > 2000:
        time.sleep(0.02)

register_module_forward_pre_hook(slow)
limits = Limits(
    body_bytes={BODY}, held_bytes={3 * BODY}, header_seconds={RECEIVE}, receive_seconds={RECEIVE}, waiting={WAITING},
    request_seconds={REQUEST}, grace_seconds=20,
)
serve(Path(sys.argv[1]), "tiny", host="127.0.0.1", port=0, limits=limits)
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sealed folder with a tiny real model. Copy it before you change it."""
    folder = tmp_path_factory.mktemp("model") / "train"
    folder.mkdir()
    fill_lively_model(folder)
    seal(folder)
    return folder


@pytest.fixture(scope="module")
def served(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """The server, and the folder that it was started from."""
    scratch = tmp_path_factory.mktemp("served")
    folder = scratch / "train"
    shutil.copytree(model, folder)
    with started(scratch / "log", "-c", SERVER, str(folder / "model")) as server:
        yield server, folder


@pytest.fixture
def server(served: tuple[Server, Path]) -> Iterator[Server]:
    """The server; it is well and has grown little when the test is over."""
    found = served[0]
    before = found.rss()
    yield found
    assert found.ask("/health")[0] == 200
    assert found.ask("/v1/generate", DRAW)[0] == 200
    assert found.rss() - before < 100


@contextlib.contextmanager
def working(server: Server) -> Iterator[socket.socket]:
    """While the model works on what does not end; the client goes when the block is left."""
    data = json.dumps(ENDLESS).encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(head(f"Content-Length: {len(data)}") + data)
        time.sleep(0.5)
        yield connection


def test_39_a_body_of_200_mb_is_refused_unread(server: Server) -> None:
    status, answer, seconds = raw(server, head(f"Content-Length: {200 * 10**6}"))

    assert (status, answer) == (
        413,
        {"error": f"a body of 200000000 bytes; at most {BODY} are taken: send smaller media, or fewer"},
    )
    assert seconds < 10


def test_39_a_body_that_is_chunked_without_end_is_refused_where_the_limit_is(server: Server) -> None:
    chunk = b"100000\r\n" + b" " * 2**20 + b"\r\n"
    status, answer, _ = raw(server, head("Transfer-Encoding: chunked"), *[chunk] * 100)

    assert status == 413
    assert answer["error"].startswith("a body of 4")


def test_39_a_content_length_that_promises_more_than_comes_ends_in_time(server: Server) -> None:
    status, answer, seconds = raw(server, head("Content-Length: 1000"), b'{"given":')

    assert (status, answer) == (408, {"error": "9 bytes of a body in 2 s; send all of it in that time"})
    assert seconds < 15


def test_39_a_content_length_that_promises_less_than_comes_is_an_error_of_the_client(server: Server) -> None:
    status, _, _ = raw(server, head("Content-Length: 3"), b'{"given": {}, "to": "image"}')

    assert status == 422


def test_39_one_byte_a_time_ends_in_time_and_holds_up_nobody(server: Server) -> None:
    slow = threading.Thread(
        target=raw, args=(server, head("Content-Length: 1000"), *[b" "] * 20), kwargs={"pause": 0.3}
    )
    slow.start()
    assert server.ask("/v1/generate", DRAW)[0] == 200
    slow.join(60)
    assert not slow.is_alive()


def test_39_headers_that_never_end_close_the_connection(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
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
    served: tuple[Server, Path], path: str, body: bytes, told: str
) -> None:
    status, answer = served[0].ask(path, body)

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
    served: tuple[Server, Path], row: dict[str, Any], told: str
) -> None:
    status, answer = served[0].ask("/invocations", {"inputs": [row]})

    assert (status, answer["error"][: len(told)]) == (422, told)


def test_39_other_content_than_json_is_refused(server: Server) -> None:
    status, answer = server.ask("/invocations", b"PAR1", {"Content-Type": "application/vnd.apache.parquet"})

    assert (status, answer) == (
        415,
        {"error": "content type 'application/vnd.apache.parquet'; send application/json"},
    )


def test_39_two_hundred_at_once_get_an_answer_or_a_refusal_and_health_still_answers(server: Server) -> None:
    data = json.dumps(DRAW).encode()

    async def one() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head(f"Content-Length: {len(data)}") + data)
        line = await reader.readline()
        writer.close()
        return int(line.split()[1])

    async def all_of_them() -> list[int]:
        return await asyncio.wait_for(asyncio.gather(*[one() for _ in range(200)]), 60)

    with working(server):
        found: list[int] = []
        crowd = threading.Thread(target=lambda: found.extend(asyncio.run(all_of_them())))
        crowd.start()
        assert server.ask("/health")[0] == 200
        assert server.ask("/ping")[0] == 200
        time.sleep(1)
    crowd.join(60)

    assert sorted(found) == [200] * WAITING + [429] * (200 - WAITING)


def test_39_work_that_nobody_waits_for_any_more_is_cancelled(server: Server) -> None:
    with working(server):
        pass
    began = time.monotonic()

    assert server.ask("/v1/generate", DRAW)[0] == 200
    assert time.monotonic() - began < REQUEST - 4


def test_39_who_goes_while_waiting_leaves_the_queue(server: Server) -> None:
    data = json.dumps(ENDLESS).encode()
    with working(server):
        for _ in range(WAITING):
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.sendall(head(f"Content-Length: {len(data)}") + data)
        time.sleep(1)
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            data = json.dumps(DRAW).encode()
            connection.sendall(head(f"Content-Length: {len(data)}\r\nConnection: close") + data)
            connection.settimeout(1)
            with pytest.raises(TimeoutError):  # not a refusal: it waits for its turn
                connection.recv(1)


def test_39_work_that_takes_too_long_is_answered_and_ended(server: Server) -> None:
    began = time.monotonic()
    with working(server) as connection:
        assert answered(connection) == (503, {"error": "no answer within 12 s; ask for less, or later"})
    assert time.monotonic() - began < 2 * REQUEST


def test_39_a_model_that_is_swapped_while_it_is_served_has_no_effect(served: tuple[Server, Path]) -> None:
    server, folder = served
    before = server.ask("/v1/generate", DRAW)
    for path in (folder / "model").iterdir():
        path.write_bytes(b"x" * 64)

    assert server.ask("/v1/generate", DRAW) == before
    assert before[0] == 200


def test_39_nothing_of_what_was_asked_is_in_the_log_and_a_stop_ends_what_runs(served: tuple[Server, Path]) -> None:
    """The last test with this server: it stops it."""
    server, _ = served
    data = json.dumps({**DRAW, "options": {"steps": 20}}).encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(head(f"Content-Length: {len(data)}") + data)
        time.sleep(0.3)
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

    done = subprocess.run(line, env=environment(), cwd=ROOT, check=False, capture_output=True, text=True, timeout=120)

    assert (done.returncode, done.stdout) == (40, "")
    assert len(done.stderr.splitlines()) == 1
    assert "weights.safetensors" in done.stderr
