"""Garbage: what lies below a root and nobody needs any more.

Kept whatever its age: every stage of the runs behind a champion, a previous champion or a challenger, the scores that
were made of them for a comparison, the training that they started from, and everything of a run that is open. Kept
as well: what was used in the last days. MLflow's database and its artifacts, the log of promotions and the data sets
are never touched.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmgen.errors import StorageError
from mmgen.files import SEAL, is_sealed, read_json
from mmgen.ops.storage.locks import locked
from mmgen.ops.tracking import outbox
from mmgen.ops.tracking.client import connected, pages, tracking_uri
from mmgen.ops.tracking.mlflow_runs import STAGE_KEYS

if TYPE_CHECKING:
    from mlflow import MlflowClient

NAMED = ("champion", "previous", "challenger")
"""Aliases whose versions are kept whole."""

_WORK = (".work", ".lock")


@dataclass(frozen=True, kw_only=True, slots=True)
class Garbage:
    """One thing that can go."""

    path: Path
    bytes: int
    what: str


def garbage(root: Path, *, days: float) -> list[Garbage]:
    """What is not needed and was not used for `days`, largest first.

    Raises:
        StorageError: a seal cannot be read.
        TrackingError: MLflow cannot be asked what is needed: then nothing is garbage.
    """
    with connected(tracking_uri(root)) as client:
        run_keys, stage_keys, models = _needed(client)
    waiting = {key for path in outbox.waiting(root) for key in json.loads(outbox.Entry(path).facts["stage_keys"])}
    needed = _closure(root, run_keys, stage_keys | waiting)
    oldest = time.time() - days * 86400
    found = [
        Garbage(path=path, bytes=_size(path), what=what)
        for path, what in _candidates(root, needed, models)
        if _last_used(path) < oldest
    ]
    return sorted(found, key=lambda thing: (-thing.bytes, str(thing.path)))


def remove(things: list[Garbage], *, days: float) -> list[Garbage]:
    """Delete what still was not used for `days`, and return it; what a run holds by now stays.

    A seal goes first, so that a folder that is half gone is not taken for a whole one.
    """
    gone = []
    for thing in things:
        stage = thing.path.with_name(thing.path.name.partition(".")[0])
        with contextlib.suppress(StorageError, FileNotFoundError), locked(stage, wait=0):
            if _last_used(thing.path) >= time.time() - days * 86400:
                continue
            if thing.path.is_dir():
                (thing.path / SEAL).unlink(missing_ok=True)
                shutil.rmtree(thing.path)
            else:
                thing.path.unlink()
            gone.append(thing)
    return gone


def _needed(client: MlflowClient) -> tuple[set[str], set[str], set[str]]:
    """Run keys of versions with a name; stage keys of those and of runs that are open; the versions as name/number."""
    run_keys, stage_keys, models = set(), set(), set()
    for model in pages(client.search_registered_models, "name LIKE 'mmgen-%'"):
        for alias, number in model.aliases.items():
            if alias in NAMED:
                tags = client.get_model_version(model.name, number).tags
                models.add(f"{model.name}/{number}")
                run_keys.add(tags.get("mmgen.run_key", ""))
                stage_keys.add(tags.get("mmgen.train_key", ""))
    experiments = [
        entry.experiment_id for entry in pages(client.search_experiments, filter_string="name LIKE 'mmgen/%'")
    ]
    for run in pages(client.search_runs, experiments, "attributes.status = 'RUNNING'") if experiments else []:
        stage_keys |= set(json.loads(run.data.tags.get(STAGE_KEYS, "[]")))
    return run_keys - {""}, stage_keys - {""}, models


def _closure(root: Path, run_keys: set[str], stage_keys: set[str]) -> set[str]:
    """Keys of every sealed stage that the needed ones were made from or compared by."""
    seals = dict(_seals(root))
    wanted = stage_keys | {key for key, seal in seals.items() if seal.get("run_key") in run_keys}
    queue, found = list(wanted), set()
    while queue:
        key = queue.pop()
        if key in found:
            continue
        found.add(key)
        parts = seals.get(key, {}).get("parts", {})
        queue += parts.get("inputs", {}).values()
        queue += filter(None, [parts.get("settings", {}).get("training.init_from")])
    # Scores of a needed model on another run's prompts, and reports of needed registrations.
    return found | {
        key
        for key, seal in seals.items()
        if seal.get("scores_of") in found or seal.get("parts", {}).get("inputs", {}).get("register") in found
    }


def _seals(root: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted((root / "stages").glob("*/*")):
        if not path.suffix and is_sealed(path):
            yield path.name, read_json(path / SEAL)


def _candidates(root: Path, needed: set[str], models: set[str]) -> Iterator[tuple[Path, str]]:
    for path in sorted((root / "stages").glob("*/*")):
        key = path.name.partition(".")[0]
        if path.suffix in _WORK or path.name.endswith(".attempts.jsonl"):
            if key not in needed and not _held(path.with_name(key + ".lock")):
                yield path, f"left by stage {path.parent.name}, which nobody runs"
        elif key not in needed and not _held(path.with_name(key + ".lock")):
            yield path, f"output of stage {path.parent.name} of a run that nobody needs"
    for path in sorted((root / "kfp").glob("*")):
        yield path, "folder of an earlier run of KFP's local runner"
    for path in sorted((root / "logs").glob("*")):
        yield path, "log of an earlier run"
    for path in sorted((root / "models").glob("*/*")):
        if f"{path.parent.name}/{path.name}" not in models:
            yield path, "downloaded model, to be had again from the registry"


def _held(lock: Path) -> bool:
    """Whether a process holds the lock of a stage."""
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError as error:
        raise StorageError(f"cannot ask who holds {str(lock)!r}: {error}") from error
    return False


def _last_used(path: Path) -> float:
    """Seconds since the epoch; a stage that finds its output marks the folder as used."""
    return path.stat().st_mtime


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(file.lstat().st_size for file in files if not file.is_dir())
