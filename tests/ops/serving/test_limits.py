"""The border around a web application, without a network: messages of ASGI in, messages out."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

from mmgen.errors import ConfigError
from mmgen.ops.serving.limits import CALL, App, Border, Limits, Message, Receive, Send


async def echo(scope: Message, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


async def asked(border: Border, *pieces: bytes, path: str = "/v1/generate", method: str = "POST") -> tuple[int, Any]:
    """Status and JSON of one request whose body comes in pieces; after them the client waits."""
    left = list(pieces)
    heard: list[Message] = []

    async def receive() -> Message:
        if not left:
            await asyncio.Future()
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    async def send(message: Message) -> None:
        heard.append(message)

    headers = [(b"content-type", b"application/json")]
    await border({"type": "http", "path": path, "method": method, "headers": headers}, receive, send)
    body = b"".join(message.get("body", b"") for message in heard[1:])
    assert b"\n" not in body
    return int(heard[0]["status"]), json.loads(body)


def one(app: App, *pieces: bytes, limits: Limits | None = None, **how: str) -> tuple[int, Any]:
    async def alone() -> tuple[int, Any]:
        return await asyncio.wait_for(asked(Border(app, limits or Limits()), *pieces, **how), 10)

    return asyncio.run(alone())


def test_a_server_is_not_ready_before_its_model_has_answered() -> None:
    async def before_and_after() -> list[int]:
        border = Border(echo, Limits())
        found = [(await asked(border, b"", path="/ping", method="GET"))[0]]
        found.append((await asked(border, b"", path="/health", method="GET"))[0])
        border.ready.set()
        return [*found, (await asked(border, b"", path="/ping", method="GET"))[0]]

    assert asyncio.run(before_and_after()) == [503, 200, 200]


def test_a_fault_of_ours_is_one_line_for_the_client_and_a_place_without_content_for_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(scope: Message, receive: Receive, send: Send) -> None:
        raise KeyError("a secret prompt")

    with caplog.at_level(logging.ERROR):
        status, answer = one(broken, b"{}")

    assert (status, answer) == (500, {"error": "the model failed (KeyError); the server's log says where"})
    assert "a call failed: KeyError at " in caplog.text
    assert "test_limits.py:" in caplog.text
    assert "secret" not in caplog.text


def test_an_error_of_the_users_is_told_whole_even_when_the_application_hides_it() -> None:
    async def hides(scope: Message, receive: Receive, send: Send) -> None:
        CALL.get().error = ConfigError("steps 'x'; want a number")
        await send({"type": "http.response.start", "status": 400, "headers": []})
        await send({"type": "http.response.body", "body": b'{"message": "unexpected", "stack_trace": "..."}'})

    assert one(hides, b"{}") == (422, {"error": "steps 'x'; want a number"})


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (b'{"message": "Failed on \'x\'.\\n Error: no number", "stack_trace": "a\\nb"}', "no number"),
        (b'{"detail": [{"loc": ["body", "to"], "msg": "Field required", "input": "x"}]}', "body.to: Field required"),
        (b'{"detail": "Not Found"}', "Not Found"),
        (b"plain\ntext", "plain text"),
    ],
)
def test_errors_of_mlflow_and_fastapi_become_one_line(said: bytes, line: str) -> None:
    async def refuses(scope: Message, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 400, "headers": []})
        await send({"type": "http.response.body", "body": said})

    assert one(refuses, b"{}") == (422, {"error": line})


def test_bodies_of_many_are_bounded_together_and_given_back() -> None:
    async def two() -> list[tuple[int, Any]]:
        border = Border(echo, Limits(held_bytes=15, receive_seconds=1))
        taken = asyncio.Event()
        first = asyncio.create_task(_never_ending(border, taken))
        await taken.wait()
        second = await asked(border, b"x" * 10)
        return [second, await first, await asked(border, b'{"abc": 12345}')]

    refused, late, after = asyncio.run(two())

    assert refused == (429, {"error": "the bodies of other requests fill the memory for them; ask again later"})
    assert late[0] == 408
    assert after == (200, {})


async def _never_ending(border: Border, taken: asyncio.Event) -> tuple[int, Any]:
    """A body of which ten bytes come; `taken` is set when they were."""
    heard: list[Message] = []
    sent = [b"x" * 10]

    async def receive() -> Message:
        if not sent:
            taken.set()
            await asyncio.Future()
        return {"type": "http.request", "body": sent.pop(), "more_body": True}

    async def send(message: Message) -> None:
        heard.append(message)

    await border({"type": "http", "path": "/x", "method": "POST", "headers": []}, receive, send)
    return int(heard[0]["status"]), json.loads(heard[1]["body"])
