"""Runs that Kubeflow reports as active although none of their pods runs any more.

Kubeflow hears of a run only through its workflow. When that is deleted, by hand or with the schedule that owns it, the
run keeps its last state for ever. Three signs tell such a run:

1. Kubernetes has no workflow of it. This is certain in either direction, and asked where it can be (`objects.py`). To
   take the answer of another cluster for this one's would be worse than none: so unless the environment says that it
   is this cluster's, a workflow of some other run of this server must be there.
2. The schedule that started it is gone: with it its workflows were deleted, unless somebody asked for orphans.
3. It is RUNNING, and no node of it was seen in ten minutes: Kubeflow learns both from the same report.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence

from pipelines.cluster.auth import ClusterError
from pipelines.cluster.client import Cluster
from pipelines.cluster.runs import ENDED, STALE, ClusterRun

UNSEEN = datetime.timedelta(minutes=10)
"""After which a RUNNING run without a single node is not believed."""


def judged(cluster: Cluster, runs: Sequence[ClusterRun], now: datetime.datetime | None = None) -> list[ClusterRun]:
    """The runs; one that Kubeflow reports as active without a running pod is STALE, with the reason as error."""
    if all(run.state in ENDED for run in runs):
        return list(runs)
    there = _with_workflow(cluster, runs)
    gone: dict[str, bool] = {}
    return [_judged(cluster, run, there, gone, now or datetime.datetime.now(datetime.UTC)) for run in runs]


def _with_workflow(cluster: Cluster, runs: Sequence[ClusterRun]) -> set[str] | None:
    """Ids of the runs that have a workflow; None where nobody tells, or it may be another cluster that does."""
    there = cluster.objects.runs() if cluster.objects else None
    if cluster.objects is None or there is None or cluster.objects.same_cluster:
        return there
    if not there.isdisjoint(run.run_id for run in runs):
        return there
    return there if there and not there.isdisjoint(run.run_id for run in cluster.runs()) else None


def _judged(
    cluster: Cluster, run: ClusterRun, there: set[str] | None, gone: dict[str, bool], now: datetime.datetime
) -> ClusterRun:
    if run.state in ENDED or (there is not None and run.run_id in there):
        return run
    if there is not None:
        # Ended and cleaned away since the runs were listed?
        newer = cluster.run(run.run_id)
        return newer if newer.state in ENDED else _stale(run, "Kubernetes has no workflow of it any more")
    if run.schedule:
        if run.schedule not in gone:
            gone[run.schedule] = _is_gone(cluster, run.schedule)
        if gone[run.schedule]:
            return _stale(run, "the schedule that started it was deleted, and with it its workflow")
    if run.state == "RUNNING" and not run.began and run.created and now - _moment(run.created) > UNSEEN:
        return _stale(run, f"no pod of it was seen since {run.created}")
    return run


def _stale(run: ClusterRun, why: str) -> ClusterRun:
    error = f"Kubeflow says {run.state}, but {why}; mark it as ended by: mmgen cancel {run.run_id}"
    return dataclasses.replace(run, state=STALE, error=error)


def _is_gone(cluster: Cluster, schedule: str) -> bool:
    try:
        return not cluster.has_schedule(schedule)
    except ClusterError:  # no right to see it: not known
        return False


def _moment(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)
