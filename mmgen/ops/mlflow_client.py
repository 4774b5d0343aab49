"""The way to MLflow: settings of its client, errors in one line, a database that is whole or absent."""

from __future__ import annotations

import contextlib
import os
import re
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmgen.errors import TrackingError
from mmgen.ops.stages import locked

if TYPE_CHECKING:
    from mlflow import MlflowClient

ENVIRONMENT = {
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",  # the default would run whatever a model artifact holds
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_UV_AUTO_DETECT": "false",  # or the working folder's project files end up in the model
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # which is for results
    # Large files go to S3 in parts, by addresses that the server signs; smaller ones through the server.
    "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "true",
    "MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE": str(64 * 2**20),
}
"""Settings of MLflow for our processes; what the user has set stays."""

SQLITE = "sqlite:///"


def tracking_uri(root: Path) -> str:
    """`MLFLOW_TRACKING_URI` when set, else an SQLite file below `root`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{(root / 'mlflow.db').resolve()}"


def redacted(uri: str) -> str:
    """`uri` without its password.

    >>> redacted("https://ann:secret@mlflow.example.org/")
    'https://***@mlflow.example.org/'
    """
    return re.sub(r"//[^/@]*@", "//***@", uri)


@contextlib.contextmanager
def connected(uri: str) -> Iterator[MlflowClient]:
    """A client of the tracking server and registry at `uri`.

    Raises:
        TrackingError: the server failed or refused inside the block; one line without secrets.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)

    import logging

    import sqlalchemy.exc
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    logging.getLogger("alembic").setLevel(logging.WARNING)  # some fifty lines when a database is made
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    try:
        if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).exists():
            _new_database(Path(uri.removeprefix(SQLITE)))
        yield MlflowClient(uri, uri)
    except (MlflowException, sqlalchemy.exc.SQLAlchemyError, OSError) as error:
        way_out = "check MLFLOW_TRACKING_URI and that the server runs, then run again"
        raise TrackingError(f"MLflow at {redacted(uri)} failed: {_told(error, uri)}; {way_out}") from error


def pages(search: Callable[..., Any], *what: Any, **how: Any) -> Iterator[Any]:
    """All results of one of the client's searches, which hands them out page by page."""
    token = None
    while True:
        page = search(*what, **how, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _new_database(path: Path) -> None:
    """Make MLflow's tables in a scratch file and rename it into place.

    So a kill leaves no half-made tables, and the hundreds of small transactions of the migrations need not wait
    for the disk (7 s on a slow one). Of two processes that start at once the second waits for the first.
    """
    import sqlalchemy
    from mlflow import MlflowClient

    def hurry(connection: Any, _: object) -> None:
        connection.execute("PRAGMA synchronous=OFF")

    with locked(path, wait=60):
        if path.exists():
            return
        scratch = path.with_name(path.name + ".new")
        scratch.unlink(missing_ok=True)
        sqlalchemy.event.listen(sqlalchemy.Engine, "connect", hurry)
        try:
            MlflowClient(SQLITE + str(scratch), SQLITE + str(scratch))
        finally:
            sqlalchemy.event.remove(sqlalchemy.Engine, "connect", hurry)
        scratch.replace(path)


def _told(error: Exception, uri: str) -> str:
    """First line of an error, shortened, with every password that we know of taken out."""
    text = next(iter(str(error).splitlines()), "") or type(error).__name__
    password = urllib.parse.urlsplit(uri).password or ""
    secrets = [os.environ.get(name, "") for name in ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")]
    for secret in (password, urllib.parse.unquote(password), *secrets):
        text = text.replace(secret, "***") if secret else text
    return redacted(text)[:300]
