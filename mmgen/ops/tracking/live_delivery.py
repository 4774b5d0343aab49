"""The thread that tells MLflow of a stage while it runs. The stage waits for it only at the end, and not for long."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mmgen.errors import StorageError, TrackingError
from mmgen.ops.tracking import delivery
from mmgen.ops.tracking.client import SQLITE, connected, tracking_uri
from mmgen.ops.tracking.dead_runs import Reaper
from mmgen.ops.tracking.mlflow_runs import announce
from mmgen.ops.tracking.outbox import Entry

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from mmgen.ops.tracking.tracked import Tracked

POLL_SECONDS = 1.0
"""Between two looks at `metrics.jsonl`."""
BEAT_SECONDS = 60.0
PAUSE_SECONDS = 30.0
"""Longest pause before a tracker that failed is tried again."""
QUIET_SECONDS = 5.0
"""A stage that has ended waits no longer than this for one answer of a server, and for a database on this disk ..."""
LOCAL_SECONDS = 60.0
"""... so long; in all, it waits for a server at most ..."""
WAIT_SECONDS = 20.0


class Follower(threading.Thread):
    """Sends one entry of the outbox while its stage runs, then what older stages left there."""

    def __init__(self, root: Path, entry: Entry, hold: contextlib.ExitStack, metrics: Path, tracked: Tracked) -> None:
        super().__init__(name="mmgen-follower", daemon=True)  # a tracker that hangs does not keep the process alive
        self.known = threading.Event()
        """Set when the runs are known, or the tracker has failed."""
        self.problem = ""
        """The last failure in one line."""
        self._root, self._entry, self._hold = root, entry, hold
        self._metrics, self._tracked = metrics, tracked
        self._uri = tracking_uri(root)
        self._ending = threading.Event()
        self._files = threading.Lock()  # of the entry's rows
        self._asked = 0.0  # when the request in progress began; 0 when there is none

    def run(self) -> None:
        """Try until the entry is sent, or the stage has ended and the tracker fails."""
        with self._hold:
            pause = 1.0
            while True:
                try:
                    self._asked = time.monotonic()
                    with connected(self._uri) as client:
                        self._follow(client)
                    return
                except (TrackingError, StorageError) as error:
                    self.problem = str(error)
                except Exception as error:  # a stage must not die of its tracker, whatever is wrong with it
                    self.problem = f"MLflow cannot be told ({type(error).__name__}: {str(error)[:200]})"
                finally:
                    self._asked = 0.0
                    self.known.set()
                until = time.monotonic() + pause
                while time.monotonic() < until:
                    if self._ending.wait(POLL_SECONDS):
                        return
                    self._gather()
                pause = min(2 * pause, PAUSE_SECONDS)

    def end(self) -> bool:
        """The entry is closed: wait while the tracker answers; True when it has everything of this stage."""
        self._ending.set()
        local = self._uri.startswith(SQLITE)
        quiet, longest = (LOCAL_SECONDS, LOCAL_SECONDS) if local else (QUIET_SECONDS, WAIT_SECONDS)
        deadline = time.monotonic() + longest
        while self.is_alive() and time.monotonic() < deadline:
            asked = self._asked
            if asked and time.monotonic() - asked > quiet:
                break
            self.join(0.02)
        return not self._entry.folder.exists()

    def gather(self) -> None:
        """Take over the rest of the metrics; for the stage's own thread, before it closes the entry."""
        with self._files:
            self._entry.gather(self._metrics, whole=True)

    def _follow(self, client: MlflowClient) -> None:
        self._answered(announce(client, self._uri, self._root, self._entry, live=True))
        sent = self._entry.sent
        self._tracked.experiment_id, self._tracked.parent_id = sent["experiment_id"], sent["parent_id"]
        self._tracked.run_id = sent["run_id"]
        self.known.set()
        self._serve(client)
        self._answered(delivery.send_rows(client, self._entry))
        self._answered(delivery.finish(client, self._entry, live=True))
        self._hold.close()
        self._send_others()

    def _serve(self, client: MlflowClient) -> None:
        """Until the stage ends: rows as they come, a heartbeat, and now and then what others left."""
        reaper = Reaper()
        others, beaten = False, time.monotonic()
        while not self._ending.is_set():
            self._gather()
            self._answered(delivery.send_rows(client, self._entry))
            if time.monotonic() - beaten >= BEAT_SECONDS:
                beaten = time.monotonic()
                self._answered(delivery.beat(client, self._entry))
                self._answered(reaper.look(client))
            self.problem = ""
            if not others and not self._ending.wait(POLL_SECONDS):
                others = True
                self._answered(reaper.look(client))
                self._send_others()
            self._ending.wait(POLL_SECONDS)

    def _send_others(self) -> None:
        for _ in delivery.send_waiting(self._uri, self._root):
            self._asked = time.monotonic()
        self._asked = 0.0

    def _gather(self) -> None:
        with self._files:
            if not self._ending.is_set():
                self._entry.beat()
                self._entry.gather(self._metrics)

    def _answered(self, requests: Iterator[None]) -> None:
        """Make requests one by one, with the time at which each began."""
        self._asked = time.monotonic()
        for _ in requests:
            self._asked = time.monotonic()
        self._asked = 0.0
