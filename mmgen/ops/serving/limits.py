"""A border around a web application: what is too large, too slow, too deep or too much is refused before any work.

    asked        bytes counted while they arrive -> shape of the JSON, before it is parsed -> a place in the queue
    answered     by the application, one call at a time; cancelled when nobody waits for it any more

Whatever goes wrong is answered by one line of JSON, `{"error": "thing, value, way out"}`, never by a traceback.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from mmgen.errors import ConfigError, DataError, MmgenError
from mmgen.ops.serving.json_shape import examine

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
"""An application by the ASGI specification, https://asgi.readthedocs.io."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one process takes on."""

    body_bytes: int = 16 * 2**20
    """Of one request."""
    held_bytes: int = 64 * 2**20
    """Of all bodies that are held at a time."""
    header_bytes: int = 16 * 2**10
    header_seconds: float = 10
    """For the first headers of a connection, and for the next ones of a silent one."""
    receive_seconds: float = 20
    """For a whole body."""
    depth: int = 16
    """Of lists and objects in each other."""
    values: int = 10_000
    """Of lists, objects and their members."""
    items: int = 16
    """Things made by one request, over all its rows."""
    waiting: int = 8
    """Requests in the queue behind the one that is worked on."""
    request_seconds: float = 120
    """From the last byte that is asked to the first that is answered, the queue included."""
    grace_seconds: int = 30
    """For what is worked on when the process is told to stop."""
    connections: int = 2_000


class RefusedError(MmgenError):
    """A request that is not served.

    Args:
        status: of HTTP.
        line: the thing, the value found, the way out.
    """

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status


class UnwantedError(Exception):
    """Nobody waits for this call any more."""


class _GoneError(Exception):
    """The client has closed its connection."""


@dataclass(slots=True)
class Call:
    """What the thread of a call and the border tell each other."""

    cancelled: threading.Event = field(default_factory=threading.Event)
    begun: bool = False
    error: Exception | None = None


CALL: ContextVar[Call] = ContextVar("call")
"""The call that a thread works on."""


class _Arriving:
    """What a client sends, and whether all of it is there."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.ended = False

    async def __call__(self) -> Message:
        message = await self._receive()
        self.ended = not message.get("more_body", False)
        return message


class Border:
    """An ASGI application that lets through to `app` what is within `limits`.

    Args:
        app: answers GET at any time, everything else one request at a time.
        limits: of this process.
    """

    def __init__(self, app: App, limits: Limits) -> None:
        self.app = app
        self.limits = limits
        self.ready = threading.Event()
        """Until it is set, `/ping` answers 503."""
        self._held = 0
        self._turn = asyncio.Semaphore(1)
        self._queued: set[asyncio.Task[tuple[int, bytes]]] = set()
        """With the one that has the turn; also such as nobody waits for, as long as their thread works."""

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request."""
        arriving = _Arriving(receive)
        if scope["path"] == "/ping" and not self.ready.is_set():
            await _refuse(RefusedError(503, "the model has not answered yet; ask again"), arriving, send)
        elif scope["method"] in ("GET", "HEAD"):
            await self.app(scope, receive, send)
        else:
            with contextlib.suppress(_GoneError):
                try:
                    status, body = await self._served(scope, arriving)
                except RefusedError as refused:
                    await _refuse(refused, arriving, send)
                else:
                    await _answer(status, body, send)

    async def _served(self, scope: Message, receive: Receive) -> tuple[int, bytes]:
        self._room()  # before the body is taken, and again when it is there
        headers = dict(scope["headers"])
        taken = bytearray()
        try:
            await self._received(headers, receive, taken)
            self._examined(headers, taken)
            self._room()
            return await self._worked(scope, taken, receive)
        finally:
            self._held -= len(taken)

    def _room(self) -> None:
        if len(self._queued) > self.limits.waiting:
            raise RefusedError(429, f"{self.limits.waiting} requests wait already; ask again later")

    async def _received(self, headers: dict[bytes, bytes], receive: Receive, taken: bytearray) -> None:
        most, size = self.limits.body_bytes, int(headers.get(b"content-length", b"0"))
        too_much = "a body of {} bytes; at most {} are taken: send smaller media, or fewer"
        if size > most:
            raise RefusedError(413, too_much.format(size, most))
        try:
            async with asyncio.timeout(self.limits.receive_seconds):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _GoneError
                    taken += message.get("body", b"")
                    self._held += len(message.get("body", b""))
                    if len(taken) > most:
                        raise RefusedError(413, too_much.format(f"{len(taken)} or more", most))
                    if self._held > self.limits.held_bytes:
                        raise RefusedError(
                            429, "the bodies of other requests fill the memory for them; ask again later"
                        )
                    more = message.get("more_body", False)
        except TimeoutError:
            seconds = self.limits.receive_seconds
            raise RefusedError(
                408, f"{len(taken)} bytes of a body in {seconds:g} s; send all of it in that time"
            ) from None

    def _examined(self, headers: dict[bytes, bytes], taken: bytearray) -> None:
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind != b"application/json":
            raise RefusedError(415, f"content type {kind.decode('latin-1')[:80]!r}; send application/json")
        try:
            examine(taken, self.limits.depth, self.limits.values)
        except DataError as error:
            raise RefusedError(422, str(error)) from None

    async def _worked(self, scope: Message, body: bytearray, receive: Receive) -> tuple[int, bytes]:
        """Wait for a turn and for the answer, as long as the client does and no longer than it may."""
        call = Call()
        work = asyncio.create_task(self._run(scope, body, call))
        self._queued.add(work)
        work.add_done_callback(self._queued.discard)
        gone = asyncio.create_task(_disconnected(receive))
        try:
            await asyncio.wait({work, gone}, timeout=self.limits.request_seconds, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            if gone.done():
                raise _GoneError
            raise RefusedError(503, f"no answer within {self.limits.request_seconds:g} s; ask for less, or later")
        finally:
            gone.cancel()
            call.cancelled.set()
            if not call.begun:
                work.cancel()
            elif not work.done():
                work.add_done_callback(_forgotten)

    async def _run(self, scope: Message, body: bytearray, call: Call) -> tuple[int, bytes]:
        async with self._turn:  # and so until the thread has ended, whoever still waits
            call.begun = True
            CALL.set(call)
            heard: list[Message] = []
            asked = [{"type": "http.request", "body": body, "more_body": False}]

            async def receive() -> Message:
                return asked.pop() if asked else await asyncio.Future()

            async def send(message: Message) -> None:
                heard.append(message)

            try:
                await self.app(scope, receive, send)
            except Exception as error:
                call.error = call.error or error
            if call.error is not None:
                raise _told(call.error)
            status = int(heard[0]["status"])
            answer = b"".join(message.get("body", b"") for message in heard[1:])
            if status >= 400:
                raise RefusedError(422 if status == 400 else status, _line(answer))
            return status, answer


def _told(error: Exception) -> RefusedError:
    """What the client is told of a call that failed: all of the user's errors, only the kind of ours."""
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, ConfigError | DataError):
        return RefusedError(422, str(error))
    if not isinstance(error, UnwantedError):
        # Where, not what: the text of such an error may hold what somebody asked.
        place = traceback.extract_tb(error.__traceback__)[-1:]
        where = f"{place[0].filename}:{place[0].lineno}" if place else "?"
        logging.getLogger(__name__).error("a call failed: %s at %s", type(error).__name__, where)
    return RefusedError(500, f"the model failed ({type(error).__name__}); the server's log says where")


def _line(answer: bytes) -> str:
    """One line from an error of MLflow (`message`, with all it was given in it) or of FastAPI (`detail`)."""
    try:
        told = json.loads(answer)
        detail = told.get("detail") or told["message"].rpartition("Error: ")[2]
    except (ValueError, KeyError, AttributeError):
        detail = answer.decode(errors="replace")
    if isinstance(detail, list):
        detail = f"{'.'.join(map(str, detail[0]['loc']))}: {detail[0]['msg']}"
    return " ".join(str(detail).split())[:300]


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _forgotten(work: asyncio.Task[Any]) -> None:
    """Take the outcome that nobody waits for, or asyncio would log it."""
    if not work.cancelled():
        work.exception()


async def _answer(
    status: int, body: bytes, send: Send, headers: tuple[tuple[bytes, bytes], ...] = (), last: bool = True
) -> None:
    own = ((b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": [*own, *headers]})
    await send({"type": "http.response.body", "body": body, "more_body": not last})


LINGER_SECONDS = 2.0
"""How long a refused client may go on sending before the connection is closed: else it would miss its answer."""


async def _refuse(refused: RefusedError, arriving: _Arriving, send: Send) -> None:
    ended = arriving.ended
    again = ((b"retry-after", b"1"),) if refused.status in (429, 503) else ()
    close = () if ended else ((b"connection", b"close"),)
    await _answer(refused.status, json.dumps({"error": str(refused)}).encode(), send, (*again, *close), last=ended)
    if not ended:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while not arriving.ended:
                    await arriving()
        await send({"type": "http.response.body", "body": b""})
