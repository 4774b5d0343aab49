"""Schedules: one of a recipe, listed and ended, and what they have started is never harmed."""

from __future__ import annotations

import datetime
import json
import zoneinfo
from pathlib import Path

import pytest

from mmgen.errors import ConfigError
from pipelines.cluster import schedules
from pipelines.cluster.auth import ClusterError
from pipelines.cluster.client import Version
from tests.support.cluster import submitting
from tests.support.cluster.kfp_api import StandIn
from tests.support.cluster.submitting import cluster_of, request_of, verb

api = submitting.api
MONDAYS, TUESDAYS = "0 30 4 * * 1", "0 30 4 * * 2"


@pytest.fixture(params=["2.17", "older"])
def server(api: StandIn, request: pytest.FixtureRequest) -> StandIn:
    """Before 2.17 a deleted schedule takes its workflows along whatever is asked."""
    api.knows_orphans = request.param == "2.17"
    return api


def finish(api: StandIn) -> None:
    for run in api.runs.values():
        run["state"] = "SUCCEEDED"


def crons(api: StandIn) -> dict[str, str]:
    """Mode of each schedule, by its cron line."""
    return {one["trigger"]["cron_schedule"]["cron"]: one["mode"] for one in api.recurring.values()}


def test_a_schedule_runs_one_at_a_time_and_replaces_the_one_before(api: StandIn, tmp_path: Path) -> None:
    cluster = cluster_of(api)
    schedules.replace(cluster, request_of(tmp_path), MONDAYS)
    with pytest.raises(ClusterError, match="six fields"):
        schedules.replace(cluster, request_of(tmp_path), "30 4 * * 1")
    (refused,) = api.recurring.values()
    schedules.replace(cluster, request_of(tmp_path), TUESDAYS)

    (kept,) = api.recurring.values()
    assert refused["trigger"]["cron_schedule"]["cron"] == MONDAYS
    assert kept["trigger"]["cron_schedule"]["cron"] == TUESDAYS
    assert (kept["max_concurrency"], kept["no_catchup"], kept["mode"]) == ("1", True, "ENABLE")
    assert kept["display_name"] == "mmgen-train-emoji"


def test_a_schedule_that_is_replaced_goes_when_its_run_has_ended(server: StandIn, tmp_path: Path) -> None:
    cluster = cluster_of(server)
    old = schedules.replace(cluster, request_of(tmp_path), MONDAYS)
    run = server.fire(old)
    assert run is not None
    schedules.replace(cluster, request_of(tmp_path), TUESDAYS)

    assert crons(server) == {MONDAYS: "DISABLE", TUESDAYS: "ENABLE"}
    assert server.fire(old) is None
    assert not server.deleted
    finish(server)
    listed = schedules.listed(cluster)
    assert [one.cron for one in listed] == [TUESDAYS]
    assert crons(server) == {TUESDAYS: "ENABLE"}


def test_a_schedule_is_ended_by_recipe_name_or_id_without_harm(server: StandIn, tmp_path: Path) -> None:
    cluster = cluster_of(server)
    first = schedules.replace(cluster, request_of(tmp_path), MONDAYS)
    server.fire(first)

    (kept,) = schedules.end(cluster, "emoji")
    assert (kept.enabled, kept.live, server.deleted) == (False, (next(iter(server.started())),), set())
    assert [one.enabled for one in schedules.listed(cluster)] == [False]  # paused by somebody, for all one can see
    finish(server)
    assert schedules.end(cluster, first) == []
    assert server.recurring == {}
    with pytest.raises(ConfigError, match="no schedule is called 'mmgen-train-emoji'; see: mmgen schedule --list"):
        schedules.end(cluster, "mmgen-train-emoji")


def test_a_stale_run_keeps_no_schedule(api: StandIn, tmp_path: Path) -> None:
    cluster = cluster_of(api)
    old = schedules.replace(cluster, request_of(tmp_path), MONDAYS)
    run = api.fire(old)
    assert run is not None
    run["created_at"] = "2026-01-01T00:00:00+00:00"  # RUNNING ever since, and no pod was ever seen

    schedules.replace(cluster, request_of(tmp_path), TUESDAYS)

    assert crons(api) == {TUESDAYS: "ENABLE"}


def test_of_two_schedules_made_at_once_one_stays(api: StandIn, tmp_path: Path) -> None:
    cluster = cluster_of(api)
    schedules.replace(cluster, request_of(tmp_path), MONDAYS)
    later = cluster.schedule("mmgen-train-emoji", _version(api), {}, TUESDAYS, "mmgen-runner")
    api.recurring[later]["created_at"] = "2999-01-01T00:00:00+00:00"

    schedules.replace(cluster, request_of(tmp_path), MONDAYS)

    assert list(api.recurring) == [later]


def _version(api: StandIn) -> Version:
    (version,) = api.versions.values()
    return Version(version["pipeline_id"], version["pipeline_version_id"], version["display_name"])


def test_a_schedule_tells_when_it_fires_next(api: StandIn, tmp_path: Path) -> None:
    cluster = cluster_of(api)
    made = schedules.replace(cluster, request_of(tmp_path), MONDAYS)
    now, zone = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), zoneinfo.ZoneInfo("UTC")
    (enabled,) = schedules.listed(cluster)
    cluster.disable_schedule(made)
    (disabled,) = schedules.listed(cluster)

    assert enabled.coming(zone, now) == "2026-01-05T04:30:00+00:00"
    assert disabled.coming(zone, now) == ""


def test_the_verb_makes_lists_and_ends(api: StandIn, tmp_path: Path, tiny_emoji: Path) -> None:
    root = tmp_path / "runs"
    made = verb(api, root, "schedule", "emoji", "--cron", "30 4 * * mon", "--json", data=tiny_emoji.parent)
    identity = json.loads(made.stdout)["id"]
    api.fire(identity)
    shown = verb(api, root, "schedule", "--list")
    ended = verb(api, root, "schedule", "--end", "emoji")
    wrong = verb(api, root, "schedule", "emoji")

    (run,) = api.started()
    assert [word in shown.stdout for word in (identity, "mmgen-train-emoji", "enabled", "0 30 4 * * mon", run)] == [
        True
    ] * 5
    assert f"it is deleted when {run} has ended" in ended.stdout, ended.stderr
    assert api.recurring[identity]["mode"] == "DISABLE"
    assert (wrong.returncode, "give one of --cron, --list and --end" in wrong.stderr) == (2, True)
