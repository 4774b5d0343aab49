"""Schedules: make, replace, list and end the recurring runs of our experiment without harm to what they started.

A recurring run owns the workflows that it starts: to delete it deletes them, in the middle of their work. So the one
that is replaced or ended is disabled first, which only keeps it from starting more, and deleted when none of its runs
is live any more: at once, or the next time that a schedule of its name is replaced or ended. One that somebody has
paused in Kubeflow's pages looks the same; it is listed as disabled and stays unless its own name is asked for.
"""

from __future__ import annotations

import dataclasses
import datetime
import zoneinfo
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmgen.errors import ConfigError
from pipelines.cluster import cron as crons
from pipelines.cluster.client import PIPELINE, Cluster
from pipelines.cluster.runs import ENDED, ClusterRun
from pipelines.cluster.stale import judged
from pipelines.cluster.submit import Request, content


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """A recurring run as the cluster tells of it."""

    schedule_id: str
    name: str
    cron: str
    """Six fields, or how often it fires where it has none."""
    enabled: bool
    created: str
    last: str
    """When its newest run was made; nothing where it has none."""
    live: tuple[str, ...]
    """Names of its runs that have not ended."""

    def coming(self, zone: zoneinfo.ZoneInfo, now: datetime.datetime) -> str:
        """When it fires next; nothing where it is disabled or its cron line is not one of ours."""
        if not self.enabled:
            return ""
        try:
            return next((at.isoformat() for at in crons.firings(crons.parse(self.cron), zone, now)), "")
        except ConfigError:
            return ""


def replace(cluster: Cluster, request: Request, cron: str) -> str:
    """Make the recurring run of a recipe in place of the one that it has; returns the id of the new one."""
    name = _name(request.run.recipe.name)
    made = cluster.schedule(name, cluster.upload(content(request)), request.parameters, cron, request.service_account)
    # Only now: a schedule that is refused leaves the old one. Of two that are made at once, both leave the same.
    everything = cluster.schedules(name)
    newest = max(everything, key=lambda one: (one.created_at, one.recurring_run_id))
    for old in everything:
        if old.recurring_run_id != newest.recurring_run_id:
            _retire(cluster, old)
    return made


def listed(cluster: Cluster) -> list[Schedule]:
    """Every recurring run of our experiment, newest first; those that a newer one has replaced are cleaned up."""
    found = [_told(cluster, one) for one in cluster.schedules()]
    running = {schedule.name for schedule in found if schedule.enabled}
    kept = []
    for schedule in found:
        if not schedule.enabled and not schedule.live and schedule.name in running:
            cluster.delete_schedule(schedule.schedule_id)
        else:
            kept.append(schedule)
    return kept


def end(cluster: Cluster, wanted: str) -> list[Schedule]:
    """End the schedules with this id, name or recipe; returns those that stay, disabled, until their runs have ended.

    Raises:
        ConfigError: there is none.
    """
    found = [
        one
        for one in cluster.schedules()
        if wanted == one.recurring_run_id or one.display_name in (wanted, _name(wanted))
    ]
    if not found:
        raise ConfigError(f"no schedule is called {wanted!r}; see: mmgen schedule --list")
    return [dataclasses.replace(_told(cluster, one), enabled=False) for one in found if not _retire(cluster, one)]


def _name(recipe: str) -> str:
    return f"{PIPELINE}-{recipe}"


def _retire(cluster: Cluster, recurring: Any) -> bool:
    """Disable a recurring run, and then delete it if nothing of it runs; returns whether it is gone."""
    if _is_enabled(recurring):
        cluster.disable_schedule(recurring.recurring_run_id)
    if _live(cluster, cluster.runs(schedule=recurring.recurring_run_id)):
        return False
    cluster.delete_schedule(recurring.recurring_run_id)
    return True


def _live(cluster: Cluster, runs: Sequence[ClusterRun]) -> tuple[str, ...]:
    return tuple(run.name for run in judged(cluster, runs) if run.state not in ENDED)


def _is_enabled(recurring: Any) -> bool:
    return str(recurring.mode) != "DISABLE"


def _cron(recurring: Any) -> str:
    trigger = recurring.trigger
    if trigger and trigger.cron_schedule:
        return str(trigger.cron_schedule.cron)
    return f"every {trigger.periodic_schedule.interval_second} s" if trigger and trigger.periodic_schedule else ""


def _told(cluster: Cluster, recurring: Any) -> Schedule:
    runs = cluster.runs(schedule=recurring.recurring_run_id)
    return Schedule(
        schedule_id=recurring.recurring_run_id,
        name=recurring.display_name,
        cron=_cron(recurring),
        enabled=_is_enabled(recurring),
        created=recurring.created_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        last=runs[0].created if runs else "",
        live=_live(cluster, runs),
    )
