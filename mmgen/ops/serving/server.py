"""A registered model behind HTTP: MLflow's own scoring server, within limits.

/invocations   MLflow's requests: rows of columns, answered by the pyfunc of `mmgen.ops.registry.pyfunc_model`
/v1/generate   the same for one thing, with a schema: `mmgen.ops.serving.generate_route`
/health        200 as long as the process lives, also while the model works
/ping          200 when the model has answered once, 503 before
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmgen.errors import ConfigError
from mmgen.ops.serving.limits import Border, Limits
from mmgen.ops.serving.served import Served, load

if TYPE_CHECKING:
    from fastapi import FastAPI


def application(served: Served, name: str, limits: Limits) -> Border:
    """MLflow's application for this model with our route, behind the border."""
    from mlflow.environment_variables import MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT
    from mlflow.pyfunc import scoring_server

    from mmgen.ops.serving.generate_route import add_route

    # MLflow would answer at this time and leave its thread to work beside the next one; the border has the deadline.
    os.environ[MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT.name] = str(24 * 3600)
    app: FastAPI = scoring_server.init(served)
    app.title = f"mmgen: {name}"
    add_route(app, served, name)
    return Border(app, limits)


def serve(model: Path, name: str, *, host: str, port: int, limits: Limits | None = None) -> None:
    """Serve a model folder until the process is told to stop; then finish what is worked on and return.

    Args:
        model: the folder.
        name: what answers say that they come from.
        host: address to listen at.
        port: 0 for one that is free; the line printed at the start names it.
        limits: of this process.

    Raises:
        ConfigError: the address cannot be used, or the model answers nothing.
        StorageError: the model is missing, cut short or altered.
    """
    import uvicorn

    limits = limits or Limits()
    with _bound(host, port) as listening:
        served = load(model, limits)
        border = application(served, name, limits)
        config = uvicorn.Config(
            border,
            http=_protocol(limits.header_seconds),
            ws="none",
            lifespan="off",
            loop="asyncio",
            access_log=False,
            log_level="warning",
            proxy_headers=False,
            server_header=False,
            limit_concurrency=limits.connections,
            timeout_keep_alive=int(limits.header_seconds),
            timeout_graceful_shutdown=limits.grace_seconds,
            h11_max_incomplete_event_size=limits.header_bytes,
        )
        server = uvicorn.Server(config)
        failed: list[Exception] = []

        def warm_up() -> None:
            try:
                served.warm_up()
                border.ready.set()
            except Exception as error:
                failed.append(error)
                server.should_exit = True

        # uvicorn sends itself the signal again when it has stopped: by then all is done.
        for stop in (signal.SIGTERM, signal.SIGINT):
            signal.signal(stop, lambda *_: None)
        threading.Thread(target=warm_up, daemon=True).start()
        listening.listen()  # so that whoever reads the next line can connect
        print(f"{name}: http://{host}:{listening.getsockname()[1]}", flush=True)
        server.run(sockets=[listening])
    if failed:
        raise failed[0]


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise ConfigError(
            f"{host}:{port} cannot be listened at ({error.strerror}); choose --host and --port"
        ) from error
    return bound


def _protocol(seconds: float) -> Any:
    """uvicorn's HTTP with a deadline for the first headers of a connection, which it lacks."""
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Patient(H11Protocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.loop.call_later(seconds, self._asked)

        def _asked(self) -> None:
            if self.cycle is None:
                self.transport.close()

    return Patient
