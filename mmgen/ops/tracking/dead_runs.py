"""Runs that MLflow shows as running although whoever made them is dead: they end as KILLED.

A live stage sets its runs' heartbeat every minute. A run is dead when its heartbeat is old (half an hour by default,
much more than clocks of two machines differ) and does not change while the reaper looks on, by the reaper's own
clock: so neither a clock that was set nor a laptop that slept costs a live run its status. Runs without a heartbeat
are not ours, Kubeflow's among them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mmgen.ops.tracking.client import connected, pages, tracking_uri
from mmgen.ops.tracking.concurrent_writes import again
from mmgen.ops.tracking.mlflow_runs import HEARTBEAT
from mmgen.ops.tracking.outbox import STALE_SECONDS

if TYPE_CHECKING:
    from mlflow import MlflowClient

WATCH_SECONDS = 90.0
"""How long a heartbeat has to stand still; one and a half of its periods."""


class Reaper:
    """Looks at the tracker from time to time and ends runs whose heartbeat stood still in between."""

    def __init__(self, stale: float = STALE_SECONDS, watch: float = WATCH_SECONDS) -> None:
        self.stale, self.watch = stale, watch
        self.ended: list[str] = []
        """Ids of the runs that were ended."""
        self.suspects: dict[str, tuple[str, float]] = {}
        """Run id -> heartbeat and when it was first seen, by the monotonic clock."""

    def look(self, client: MlflowClient) -> Iterator[None]:
        """One look; yields after every answer."""
        experiments = [entry.experiment_id for entry in pages(client.search_experiments)]
        yield
        query = f"attributes.status = 'RUNNING' and tags.`{HEARTBEAT}` LIKE '%'"
        found = list(pages(client.search_runs, experiments, query)) if experiments else []
        yield
        beats = {run.info.run_id: run.data.tags[HEARTBEAT] for run in found}
        suspects = {}
        for run_id, beat in beats.items():
            before, since = self.suspects.get(run_id, (beat, time.monotonic()))
            # A heartbeat far in the future comes of a wrong clock and says as little as an old one.
            if before != beat or abs(time.time() - _seconds(beat)) <= self.stale:
                continue
            if time.monotonic() - since < self.watch:
                suspects[run_id] = (beat, since)
                continue
            again(client.set_tag, run_id, "mmgen.reaped", f"no sign of life since {beat}")
            client.set_terminated(run_id, "KILLED")
            self.ended.append(run_id)
            yield
        self.suspects = suspects


def reap(root: Path, stale: float = STALE_SECONDS, watch: float = WATCH_SECONDS) -> list[str]:
    """End the runs of the dead, and wait for that if there are suspects; ids of the runs that were ended.

    Raises:
        TrackingError: the tracker failed.
    """
    reaper = Reaper(stale, watch)
    with connected(tracking_uri(root)) as client:
        for _ in reaper.look(client):
            pass
        if reaper.suspects:
            time.sleep(watch)
            for _ in reaper.look(client):
                pass
    return reaper.ended


def _seconds(beat: str) -> float:
    """A heartbeat as seconds since 1970; 0 for one that is no number."""
    try:
        return float(beat)
    except ValueError:
        return 0.0
