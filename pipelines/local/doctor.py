"""Checks whether this machine can run a recipe, and serves MLflow's pages for its runs."""

from __future__ import annotations

import configparser
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from mmgen.errors import ConfigError, MmgenError

PYTHON = (3, 11)
DISK_GIB = 2.0
"""Room for the data, the checkpoints and the models of a few runs."""
MEMORY_GIB = 4.0
PACKAGES = ("kfp", "mlflow", "torch", "torchvision", "dvc", "great-expectations", "boto3")

Line = tuple[str, str, str]
"""What was looked at, what was found, the way out; empty when all is well."""


def examine(root: Path, data_root: Path) -> list[Line]:
    """Every check of `mmgen doctor`."""
    lines = [_python(), _disk(root), _memory(), _cores(), *map(_package, PACKAGES), *_data(data_root), _database(root)]
    return [*lines, *_stores(root, data_root), *_remotes()]


def serve_mlflow(root: Path, port: int) -> None:
    """Run MLflow's server on the local database, for this machine only, until it is stopped.

    Raises:
        ConfigError: there is no database yet, or the port is taken.
    """
    import socket

    from mmgen.ops.tracking.server import ServerConfig

    database = (root / "mlflow.db").resolve()
    if not database.is_file():
        raise ConfigError(f"there are no runs in {str(root)!r} yet; run: mmgen run")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConfigError(f"port {port} cannot be used ({error.strerror}); choose another with --port") from error
    print(f"MLflow: http://127.0.0.1:{port}", flush=True)
    config = ServerConfig(store=f"sqlite:///{database}", artifacts=str((root / "mlartifacts").resolve()), port=port)
    with subprocess.Popen(config.command(), env=config.environment()) as server:
        try:
            code = server.wait()
        finally:
            server.terminate()
    if code:
        raise ConfigError(f"the MLflow server ended with code {code}; its own lines above say why")


def _python() -> Line:
    found = ".".join(map(str, sys.version_info[:3]))
    wanted = ".".join(map(str, PYTHON))
    return "python", found, "" if sys.version_info >= PYTHON else f"install Python {wanted} or newer"


def _disk(root: Path) -> Line:
    folder = root.resolve()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 2**30
    if not os.access(folder, os.W_OK):
        return "disk", f"{str(folder)!r} is not writable", "choose another folder with MMGEN_ROOT"
    way_out = "" if free >= DISK_GIB else f"free {DISK_GIB:.0f} GiB, or choose another folder with MMGEN_ROOT"
    return "disk", f"{free:.1f} GiB free in {str(folder)!r}", way_out


def _memory() -> Line:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    way_out = "" if total >= MEMORY_GIB else f"{MEMORY_GIB:.0f} GiB are needed; train a smaller model with --set"
    return "memory", f"{total:.1f} GiB", way_out


def _cores() -> Line:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return "cores", str(count), ""  # one is enough, only slower


def _package(name: str) -> Line:
    try:
        return name, importlib.metadata.version(name), ""
    except importlib.metadata.PackageNotFoundError:
        return name, "not installed", "run: make install"


def _data(data_root: Path) -> list[Line]:
    from mmgen.data.dataset import load
    from mmgen.data.sources.build import NAMES

    lines = []
    for name in NAMES:
        what = f"data {name}"
        if not (data_root / name).is_dir():
            continue  # mmgen run builds what it needs
        try:
            load(data_root / name).verify()
            lines.append((what, "whole", ""))
        except MmgenError as error:
            lines.append((what, str(error), f"remove the folder and run: mmgen data build {name}"))
    return lines


def _stores(*places: Path) -> list[Line]:
    """Whether the object stores of the roots answer."""
    from mmgen.ops.storage.roots import store_of

    lines = []
    for store in filter(None, map(store_of, places)):
        try:
            next(store.keys(), None)
            lines.append(("store", f"{store.url} answers", ""))
        except MmgenError as error:
            lines.append(("store", *str(error).rsplit("; ", 1)))
    return lines


def _remotes() -> list[Line]:
    """DVC's remotes on S3: DVC accepts any bytes from a remote without `verify`."""
    found = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        found.read([".dvc/config", ".dvc/config.local"], encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        return [("dvc", f".dvc/config cannot be read: {' '.join(str(error).split())}", "mend it")]
    lines = []
    for section in found.sections():
        name = re.fullmatch(r"'?remote \"(.+)\"'?", section)
        if name and found.get(section, "url", fallback="").startswith("s3://"):
            checked = found.get(section, "verify", fallback="").lower() in ("true", "1", "yes", "on")
            way_out = "" if checked else f"run: dvc remote modify {name[1]} verify true"
            lines.append(("dvc", f"remote {name[1]} is {'verified' if checked else 'not verified on pull'}", way_out))
    return lines


def _database(root: Path) -> Line:
    import sqlite3

    from mmgen.ops.tracking.client import tracker

    path = root / "mlflow.db"
    if name := tracker()[0]:
        return "tracking", f"{name} is set: a server keeps the runs", ""
    if not path.is_file():
        return "tracking", "no runs yet", ""
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            count = connection.execute("select count(*) from runs").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.Error as error:
        return "tracking", f"{str(path)!r} cannot be read: {error}", "move it away, or bring back a copy"
    return "tracking", f"{count} runs in {str(path)!r}", ""
