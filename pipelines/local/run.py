"""Run the pipeline on this machine with KFP's own runner, and monitor it.

    mmgen run                       reads the events, draws them, ends with the summary
      python -m pipelines.local.run     KFP's local runner: one process that runs the tasks in order
        kfp executor                one process a task, or a container; its progress and errors go to the events file

The runner has a process of its own since KFP alters `print` and logging for good. It dies with its parent:
its standard input is a pipe that nobody writes to and that ends when the parent does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmgen.errors import ConfigError, MmgenError, StorageError
from mmgen.files import is_sealed, refusal
from mmgen.ops.runs.keys import CODE, STAGES
from mmgen.ops.runs.run import Run
from mmgen.ops.storage.roots import address, open_root
from mmgen.progress import Progress, read_events, replay
from pipelines.local.containers import Containers

POLL_SECONDS = 0.1
KEPT = 5
"""Folders of earlier KFP runs that are kept for people to look at."""
GRACE_SECONDS = 30.0
"""How long a stopped run may take to save what it has."""

States = dict[str, tuple[str, float]]
"""Stage -> state and seconds."""


class PipelineError(MmgenError):
    """A stage failed in its own process; carries the exit code that the stage asked for."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def run_pipeline(run: Run, progress: Progress, containers: Containers | None = None, *, promote: bool = True) -> States:
    """Run every stage of `run`, in `containers` or in processes of this machine, and return what became of each.

    Without `promote` the champion does not change.

    Raises:
        PipelineError: a stage failed; one line with the reason and the log's path.
        KeyboardInterrupt: asked to stop; all processes of the run have ended by then.
    """
    name = f"{run.keys.run_key}-{time.strftime('%Y%m%d-%H%M%S')}"
    log, events = run.root / "logs" / f"{name}.log", run.root / "logs" / f"{name}.events.jsonl"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            child = _start(run, name, events, file, containers, promote)
    except OSError as error:
        raise StorageError(refusal(log, error)) from error
    states: States = {}
    failure: dict[str, Any] | None = None
    offset = 0
    with _stopping(child):
        ended = False
        while not ended:
            ended = child.poll() is not None  # asked before reading: what was written last is read too
            found, offset = read_events(events, offset)
            for event in found:
                replay(event, progress)
                if event.get("event") == "stage":
                    states[event["name"]] = (event["state"], event["seconds"])
                failure = event.get("error", failure)
            if not ended:
                time.sleep(POLL_SECONDS)
    if failure:
        raise PipelineError(f"{failure['message']}; log: {str(log)!r}", failure["exit_code"])
    if child.returncode or any(stage not in states for stage in STAGES):
        reason = f"the pipeline ended with code {child.returncode} and gave no reason"
        raise PipelineError(f"{reason}; run again to go on where it stopped; log: {str(log)!r}", 1)
    if not all(is_sealed(run.folder(stage)) for stage in STAGES):  # then some stages ran under other keys
        raise ConfigError(
            "the code, the data or gates.yaml changed while the run went on, or the images hold others; run again"
        )
    return states


def _start(
    run: Run, name: str, events: Path, log: Any, containers: Containers | None, promote: bool
) -> subprocess.Popen[bytes]:
    arguments = {
        "recipe": run.recipe.name,
        "settings": "; ".join(run.settings),
        "root": address(run.root),
        "data": address(run.data_root),
        "promote": promote,
    }
    # The code that was asked to run is the code that runs, wherever the command is started.
    path = os.pathsep.join([str(CODE), *filter(None, [os.environ.get("PYTHONPATH")])])
    images = json.dumps(containers and dataclasses.asdict(containers.images))
    # What may hold a secret of the user's is handed on where no list of processes shows it.
    further = {"MMGEN_DOCKER": containers.further} if containers else {}
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.local.run", name, json.dumps(arguments), images],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # one group, so that all of the run can be stopped, and only by us
        env={
            **os.environ,
            **further,
            "PYTHONPATH": path,
            "MMGEN_EVENTS": str(events.resolve()),
            "PYTHONUNBUFFERED": "1",
        },
    )


@contextlib.contextmanager
def _stopping(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """Ctrl-C and SIGTERM stop the whole run: first SIGTERM, then a pause, then SIGKILL."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        _end(child, signal.SIGTERM)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
        _end(child, signal.SIGKILL)  # after a success nobody is left
        if child.stdin is not None:
            child.stdin.close()


def _end(child: subprocess.Popen[bytes], how: signal.Signals) -> None:
    """Send a signal to every process of the run and wait until none is left."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, how)
    child.wait(GRACE_SECONDS)
    deadline = time.monotonic() + GRACE_SECONDS
    while _any_alive(child.pid) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def _any_alive(group: int) -> bool:
    """Whether a process of the group still runs; one that waits to be reaped does not. False without /proc."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            state, _, found = path.read_text().rpartition(")")[2].split()[:3]
            if int(found) == group and state != "Z":
                return True
    return False


def _die_with_parent() -> None:
    """Stop the whole group once the parent's end of our standard input is closed, even by SIGKILL."""

    def watch() -> None:
        os.read(0, 1)
        os.killpg(0, signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _plain_python() -> None:
    """Have KFP start tasks as `python3` from the PATH.

    It replaces the text python3 by `sys.executable` in every argument, folders of the user's included; replaced by
    itself it does no harm.
    """
    folder = Path(sys.executable).parent
    if (folder / "python3").exists():
        os.environ["PATH"] = os.pathsep.join([str(folder), os.environ.get("PATH", os.defpath)])
        sys.executable = "python3"


def _clean(folder: Path) -> None:
    """Keep the newest few folders of earlier runs."""
    runs = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns) if folder.is_dir() else []
    for old in runs[:-KEPT]:
        shutil.rmtree(old)


def main(name: str, arguments: dict[str, Any], images: dict[str, Any] | None = None) -> None:
    """Child side: run the pipeline with KFP's SubprocessRunner, or with its DockerRunner in `images`."""
    _die_with_parent()
    _plain_python()
    from kfp import local

    from pipelines.cluster.images import Images
    from pipelines.local.containers import runner
    from pipelines.training import pipeline

    root, data = open_root(arguments["root"]), open_root(arguments["data"])
    _clean(root / "kfp")
    if images is None:
        chosen, pipeline_of = local.SubprocessRunner(use_venv=False), pipeline()
    else:
        chosen = runner(name, root, data, json.loads(os.environ["MMGEN_DOCKER"]))
        pipeline_of = pipeline(Images(**images))
    local.init(chosen, pipeline_root=str(root / "kfp" / name), raise_on_error=True)
    pipeline_of(**arguments)


if __name__ == "__main__":
    main(sys.argv[1], *map(json.loads, sys.argv[2:]))
