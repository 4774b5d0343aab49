"""Files that are whole or absent, and folders that are sealed or ignored.

A file is written beside its final name and renamed into place. A folder made by a stage is real only
when it holds `SEAL.json`, which is written last and lists the sha256 and size of every other file in it.
Whatever reads such a folder asks the seal first: a killed run, a full disk or a flipped bit is found
before it is used, not after.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmgen.errors import ConfigError, StorageError

SEAL = "SEAL.json"
MAX_YAML_BYTES = 2**20
MAX_ALIASES, MAX_DEPTH = 100, 30
SCHEMA = 1
"""Version of the layout of sealed folders; part of every key, so that a change of layout reruns stages."""


def sha256_file(path: Path) -> str:
    """Hexadecimal sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a scratch path beside `path`; rename it into place on success.

    On any exception the scratch file is removed and `path` keeps what it held.

    Raises:
        StorageError: the disk is full or the folder is not writable.
    """
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        make_folder(path.parent)
        yield scratch
        sync_file(scratch)
        scratch.chmod(0o644)  # some writers (safetensors) leave 0600, which another uid cannot read
        scratch.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise StorageError(refusal(path, error)) from error
    finally:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)


def sync_file(path: Path) -> None:
    """Wait until the file's bytes are on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def make_folder(path: Path) -> None:
    """Make a folder and those above it that are missing, readable by other users whatever the umask says."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        folder.chmod(0o755)


def refusal(path: Path, error: OSError) -> str:
    """One line for a write that failed: the path, the cause and the way out."""
    free = ""
    folder = path
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    with contextlib.suppress(OSError):
        info = os.statvfs(folder)
        free = f" ({info.f_bavail * info.f_frsize / 2**20:.0f} MiB free)"
    way_out = "make room or choose another folder with MMGEN_ROOT"
    return f"could not write {str(path)!r}{free}: {error.strerror or error}; {way_out}"


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` whole or not at all."""
    with whole_file(path) as scratch:
        scratch.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys; NaN and infinity are refused, since they are not JSON."""
    write_bytes(path, (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read a JSON file of ours.

    Raises:
        StorageError: absent, cut short, no plain file, or nested too deep.
    """
    try:
        if path.exists() and not path.is_file():  # to open a pipe would be to wait
            raise ValueError("it is not a plain file")
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise StorageError(f"{str(path)!r} is missing; run the stage that makes it") from error
    except (ValueError, RecursionError, OSError) as error:
        raise StorageError(f"{str(path)!r} is not whole JSON ({error}); delete its folder and run again") from error


def read_yaml(path: Path) -> Any:
    """Read a YAML file of settings: plain values alone, no object of Python's.

    Raises:
        ConfigError: missing, too large, not YAML, or with aliases in aliases, of which few make billions of values.
    """
    import yaml

    try:
        text = path.read_bytes()
        if len(text) > MAX_YAML_BYTES:
            raise ValueError(f"{len(text)} bytes; want at most {MAX_YAML_BYTES}")
        named, aliases = [False], 0  # whether what is open, or anything around it, has a name
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.CollectionStartEvent):
                named.append(named[-1] or event.anchor is not None)
                if len(named) > MAX_DEPTH:  # the parser takes the square of it
                    raise ValueError(f"nested more than {MAX_DEPTH} deep")
            elif isinstance(event, yaml.CollectionEndEvent):
                named.pop()
            elif isinstance(event, yaml.AliasEvent):
                aliases += 1
                if named[-1] or aliases > MAX_ALIASES:
                    raise ValueError(
                        f"alias *{event.anchor} inside of a named value, or more than {MAX_ALIASES} of them"
                    )
        return yaml.safe_load(text)
    except (OSError, ValueError, OverflowError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"{str(path)!r}: {' '.join(str(error).split())}") from error


def seal(folder: Path, **facts: Any) -> dict[str, Any]:
    """Write `SEAL.json` over every file in `folder` and return its content; other users may read it all from then on.

    Args:
        folder: a finished folder.
        facts: provenance to keep in the seal (run key, recipe, data version, ...).

    Raises:
        StorageError: the folder holds something that is neither a plain file nor a folder.
    """
    files = {name: {"bytes": size, "sha256": sha256_file(folder / name)} for name, size in _walk(folder).items()}
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    content = {"schema": SCHEMA, "files": files, **facts}
    write_json(folder / SEAL, content)
    return content


def is_sealed(folder: Path) -> bool:
    """Whether `folder` has a seal. Says nothing of its bytes: `open_sealed` checks those."""
    return (folder / SEAL).is_file()


def open_sealed(folder: Path) -> dict[str, Any]:
    """Verify every byte of a sealed folder and return the seal.

    Raises:
        StorageError: no seal, a file missing, added, cut short or altered.
    """
    if not folder.is_dir():
        raise StorageError(f"{str(folder)!r} does not exist")
    if not is_sealed(folder):
        raise StorageError(f"{str(folder)!r} has no {SEAL}: it was never finished; run its stage again")
    content: dict[str, Any] = read_json(folder / SEAL)
    found = _walk(folder)
    try:
        listed = {name: (entry["bytes"], entry["sha256"]) for name, entry in content["files"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise StorageError(
            f"{str(folder / SEAL)!r} is not a seal; delete the folder and run its stage again"
        ) from error
    for name in sorted(listed.keys() | found.keys()):
        if name not in found:
            problem = "is missing"
        elif name not in listed:
            problem = "was added after sealing"
        elif found[name] != listed[name][0]:
            problem = f"has {found[name]} bytes, sealed with {listed[name][0]}"
        elif sha256_file(folder / name) != listed[name][1]:
            problem = "was altered after sealing"
        else:
            continue
        raise StorageError(f"{str(folder / name)!r} {problem}; delete the folder and run its stage again")
    return content


def digest(value: Any) -> str:
    """sha256 of a value's canonical JSON: the one way that keys are made.

    >>> digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _walk(folder: Path) -> dict[str, int]:
    """Size in bytes of every plain file below `folder`, the seal left out."""
    sizes = {}
    for path in sorted(folder.rglob("*")):
        info = path.lstat()
        name = path.relative_to(folder).as_posix()
        if stat.S_ISDIR(info.st_mode) or name == SEAL:
            continue
        if not stat.S_ISREG(info.st_mode):
            raise StorageError(f"{str(path)!r} is not a plain file (link, pipe or device); remove it")
        sizes[name] = info.st_size
    return sizes


def _sync_folder(folder: Path) -> None:
    """Make a rename durable: without this a power cut may bring the old name back."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
