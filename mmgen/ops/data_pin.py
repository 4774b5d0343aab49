"""`data.dvc` and the data sets that it pins; versions that DVC keeps."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from mmgen.errors import ConfigError, StorageError

PIN = Path("data.dvc")


def keep_in_cache(folder: Path) -> bool:
    """Put freshly built data sets into DVC's cache, if they are the ones that `data.dvc` pins.

    After this `dvc status data.dvc` is clean and `dvc push` has what to send. Nothing happens outside a clone, or as
    long as a pinned data set is not built. `data.dvc` itself is never changed.

    Args:
        folder: where the data sets lie; only `data/` of the working folder is pinned.

    Returns:
        Whether what lies there is what is pinned.

    Raises:
        StorageError: DVC cannot be run.
    """
    import yaml

    if not PIN.is_file() or folder.resolve() != Path("data").resolve():
        return True
    outs = [Path(out["path"]) for out in yaml.safe_load(PIN.read_bytes())["outs"]]
    if not all(out.is_dir() for out in outs):
        return True
    # Without a terminal DVC refuses, rather than asks, when the data differ from the pin.
    return _dvc("commit", "--quiet", str(PIN)).returncode == 0


def get_version(folder: Path, rev: str, out: Path) -> Path:
    """Copy the version of a data set that a commit pins to `out`, and return `out`.

    Raises:
        ConfigError: no such commit, or it does not pin the data set.
        StorageError: DVC cannot be run.
    """
    if rev.startswith("-"):
        raise ConfigError(f"{rev!r} is not a commit")
    done = _dvc("get", "--quiet", ".", folder.as_posix(), "--rev", rev, "--out", str(out))
    if done.returncode:
        reason = " ".join((done.stderr or done.stdout).removeprefix("ERROR: ").split())[:200]
        raise ConfigError(
            f"DVC has no version of {str(folder)!r} at {rev!r} ({reason}); pin it first: dvc add {folder}"
        )
    return out


def _dvc(*arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            [sys.executable, "-m", "dvc", *arguments],
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "DVC_NO_ANALYTICS": "1"},
            timeout=600,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StorageError(f"could not run dvc: {error}; install it or put the data into its cache later") from error
