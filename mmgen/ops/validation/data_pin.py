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


def pull(folder: Path) -> None:
    """Bring a data set to the version that `data.dvc` pins, from the remote where there is one, else from the cache.

    Nothing happens to one that is at that version, or that is not pinned.

    Raises:
        StorageError: DVC cannot be run, has no such version, or would overwrite data that it does not keep.
    """
    from mmgen.data.dataset import data_version

    pinned = _pinned(folder)
    if pinned is None or (folder.is_dir() and data_version(folder) == pinned):
        return
    done = _dvc("pull" if has_remote() else "checkout", "--quiet", folder.as_posix())
    if done.returncode:
        reason = " ".join((done.stderr or done.stdout).removeprefix("ERROR: ").split())[:200]
        raise StorageError(
            f"{str(folder)!r} cannot be brought to the version {pinned} of {PIN} ({reason}); "
            "run dvc push where it was changed, then again"
        )


def has_remote() -> bool:
    """Whether DVC has a remote here."""
    files = (Path(".dvc") / "config", Path(".dvc") / "config.local")
    return any('remote "' in file.read_text() for file in files if file.is_file())


def _pinned(folder: Path) -> str | None:
    """Version of a data set that `data.dvc` names."""
    import yaml

    outs = yaml.safe_load(PIN.read_bytes())["outs"] if PIN.is_file() else []
    found = [out["md5"] for out in outs if Path(out["path"]).resolve() == folder.resolve()]
    return str(found[0]) if found else None


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
        why = f" ({reason})" if reason else ""
        raise ConfigError(f"DVC has no version of {str(folder)!r} at {rev!r}{why}; pin it first: dvc add {folder}")
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
