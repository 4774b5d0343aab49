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
from mmgen.ops.storage.locks import locked

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


ADDRESSES = ("MMGEN_TRACKING_URI", "MLFLOW_TRACKING_URI")
"""Variables that name the tracking server, the stronger one first: Kubeflow's MLflow plugin writes the second into
every task, and means its own server."""

OF_MLFLOW = (
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_AUTH",
    "MLFLOW_WORKSPACE",
)
"""How MLflow's client makes itself known to the server of MLFLOW_TRACKING_URI."""


def tracker() -> tuple[str, str]:
    """The variable that names the tracking server, and its address; empty when none does."""
    return next(((name, os.environ[name]) for name in ADDRESSES if os.environ.get(name)), ("", ""))


def tracking_uri(root: Path) -> str:
    """Address of the tracking server when the environment names one, else an SQLite file below `root`."""
    return tracker()[1] or f"{SQLITE}{(root / 'mlflow.db').resolve()}"


def same_address(one: str, other: str) -> bool:
    """Whether two addresses are written alike, names and passwords in them left out.

    >>> same_address("http://ann:secret@mlflow:5000/", "http://mlflow:5000")
    True
    """
    return bare(one) == bare(other)


def bare(uri: str) -> str:
    """`uri` without names, passwords and a last slash."""
    return re.sub(r"//[^/@]*@", "//", uri).rstrip("/")


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
    ours, theirs = (os.environ.get(name) for name in ADDRESSES)
    if ours == uri and theirs and not same_address(ours, theirs):
        for name in OF_MLFLOW:  # another server's: ours must not see its secrets, and refuses its workspaces
            os.environ.pop(name, None)

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
        way_out = f"check {tracker()[0] or ADDRESSES[1]} and that the server runs, then run again"
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
