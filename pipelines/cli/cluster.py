"""Verbs about runs on a cluster: submit, schedule, status, logs, cancel."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import sys
import zoneinfo
from pathlib import Path
from typing import Any

import click

from mmgen.errors import ConfigError
from mmgen.ops.distributed.cluster_names import RUNNER
from pipelines.choices import chosen
from pipelines.cli.options import Command, images_options, json_option, profile_option, promote_option, recipe_options
from pipelines.cluster.images import images_of
from pipelines.terminal import KEPT_CHAMPION, answer, show_table


def cluster_options(command: Command) -> Command:
    """`--cluster-root --cluster-data --no-promote --image --dev --profile`: what the pods are told, and run in."""
    decorators = (
        images_options,
        profile_option,
        click.option(
            "--cluster-root",
            envvar="MMGEN_CLUSTER_ROOT",
            show_envvar=True,
            help="Root of the runs as the pods see it.  [default: --root]",
        ),
        click.option(
            "--cluster-data",
            envvar="MMGEN_CLUSTER_DATA",
            show_envvar=True,
            help="Folder of the data sets as the pods see it.  [default: --data]",
        ),
        promote_option,
    )
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


account_option = click.option(
    "--service-account",
    envvar="MMGEN_SERVICE_ACCOUNT",
    show_envvar=True,
    help=f"Account of the namespace that the pods run under.  [default: {RUNNER}]",
)


@click.command()
@recipe_options
@cluster_options
@account_option
@click.option(
    "--if-new", is_flag=True, help="Start nothing when the same run is live, has succeeded, or its model is there."
)
@click.option("--wait", is_flag=True, help="Wait for the end of the run and return its exit code.")
@json_option
def submit(root: Path, if_new: bool, wait: bool, as_json: bool, **given: Any) -> None:
    """Start RECIPE on the cluster at KFP_ENDPOINT.

    The run is named by its run key. The pods must see the same version of the data as this machine.

    \b
    mmgen submit --if-new --wait --image cpu=NAME@sha256:... --image gpu=NAME@sha256:...
    mmgen submit emoji --profile gpu --cluster-root s3://mmgen/runs --cluster-data s3://mmgen/data
    """
    from pipelines.cluster import submit as submitting
    from pipelines.cluster.client import connect

    request = _request(root=root, **given)
    cluster = connect()
    done = submitting.submit(cluster, request, if_new=if_new, claim=submitting.claims(root))
    run = done.run
    if run is None:
        line = f"nothing to do: the model of {request.name} is registered already, see: mmgen history"
    else:
        line = f"{'started' if done.started else 'nothing to do: there is'} {run.name} ({run.state}) {run.link}"
    if not as_json:
        click.echo(line)
    if run is not None and wait:
        run = submitting.follow(cluster, run.run_id, lambda stage, state: click.echo(f"{stage:<10} {state}", err=True))
    decision = submitting.decision(request) if run is None or run.state == "SUCCEEDED" else None
    if as_json:
        answer({"started": done.started, "run": _plain(run), "run_key": request.run.keys.run_key, "decision": decision})
    if run is not None and wait:
        submitting.check_ended(run, request)
        if not as_json:
            click.echo(f"verdict  {decision or 'unknown here; look at the run'}")
    if decision == "keep":
        sys.exit(KEPT_CHAMPION)


@click.command()
@recipe_options
@cluster_options
@account_option
@click.option("--cron", help='Five fields, "30 4 * * mon", or six with the second first.')
@click.option("--list", "listing", is_flag=True, help="Show the schedules and their active runs.")
@click.option("--end", metavar="NAME|ID", help="End this schedule; runs that it has started continue.")
@click.option("--zone", help="Time zone of --cron.  [default: the cluster's]")
@click.option(
    "--cluster-zone",
    envvar="KFP_CRON_ZONE",
    show_envvar=True,
    default="UTC",
    show_default=True,
    help="Time zone in which the cluster reads cron: CRON_SCHEDULE_TIMEZONE of its controller.",
)
@json_option
def schedule(
    cron: str | None,
    listing: bool,
    end: str | None,
    zone: str | None,
    cluster_zone: str,
    as_json: bool,
    **given: Any,
) -> None:
    """Start RECIPE on the cluster by a schedule, one run at a time; a schedule of the same recipe is replaced.

    A run that finds every stage sealed does nothing more. A schedule that was replaced or ended starts no further run,
    and is deleted when its runs have ended.

    \b
    mmgen schedule --cron "30 4 * * mon"
    mmgen schedule --list
    mmgen schedule --end emoji
    """
    from pipelines.cluster import cron as crons
    from pipelines.cluster import schedules
    from pipelines.cluster.client import connect

    if sum((cron is not None, listing, end is not None)) != 1:
        raise click.UsageError("give one of --cron, --list and --end")
    if listing:
        _show_schedules(crons.check_zone(cluster_zone, cluster_zone), as_json)
    elif end is not None:
        stay = schedules.end(connect(), end)
        if as_json:
            answer([dataclasses.asdict(schedule) for schedule in stay])
        else:
            lines = [f"ended {kept.name}; it is deleted when {', '.join(kept.live)} has ended" for kept in stay]
            click.echo("\n".join(lines) or f"ended {end}")
    elif cron is not None:
        checked = crons.parse(cron)
        where = crons.check_zone(zone or cluster_zone, cluster_zone)
        made = schedules.replace(connect(), _request(**given), checked.line)
        firings = itertools.islice(crons.firings(checked, where, datetime.datetime.now(datetime.UTC)), 3)
        coming = [moment.isoformat() for moment in firings]
        if as_json:
            answer({"id": made, "cron": checked.line, "zone": where.key, "next": coming})
        else:
            show_table([("schedule", made), ("cron", checked.line), ("zone", where.key), ("next", ", ".join(coming))])


@click.command()
@click.argument("run", required=False)
@json_option
def status(run: str | None, as_json: bool) -> None:
    """Show the newest runs on the cluster, or the stages of RUN, named by id or name, and why it does not continue.

    STALE is a run that Kubeflow reports as active although none of its pods runs any more. Reasons from Kubernetes are
    shown where KUBECONFIG or a pod's own token allows it.

    \b
    mmgen status
    mmgen status emoji-93140c25d35fbb27
    """
    from pipelines.cluster.client import connect
    from pipelines.cluster.stale import judged
    from pipelines.cluster.status import why
    from pipelines.cluster.submit import find

    cluster = connect()
    if run is None:
        runs = judged(cluster, cluster.runs())
        if as_json:
            answer([_plain(found) for found in runs])
        else:
            show_table([("run", "state", "created", "link"), *((r.name, r.state, r.created, r.link) for r in runs)])
        return
    found = find(cluster, run)
    reasons = why(cluster, found)
    if as_json:
        answer(dataclasses.asdict(found) | {"why": reasons})
    else:
        show_table([("run", found.name), ("state", found.state), ("link", found.link), *found.stages.items()])
        for line in reasons:
            click.echo(line)


@click.command()
@click.argument("run", required=False)
@click.option("--stage", help="Only this stage.  [default: all that have started]")
def logs(run: str | None, stage: str | None) -> None:
    """Print the logs of the pods of RUN, or of the newest run.

    \b
    mmgen logs emoji-93140c25d35fbb27 --stage train
    """
    from mmgen.errors import unknown
    from mmgen.ops.runs.keys import STAGES
    from pipelines.cluster.client import connect
    from pipelines.cluster.status import logs as logs_of
    from pipelines.cluster.submit import find

    if stage is not None and stage not in STAGES:
        raise ConfigError(unknown("stage", stage, STAGES))
    cluster = connect()
    found = find(cluster, run)
    began = False
    for title, text in logs_of(cluster, found, stage):
        began = True
        click.echo(f"== {title}\n{text.rstrip()}")
    if not began:
        where = f" in stage {stage}" if stage else ""
        raise ConfigError(f"run {found.name!r} has no pods yet{where}; see: mmgen status {found.name}")


@click.command()
@click.argument("run")
def cancel(run: str) -> None:
    """Stop RUN, named by id or name; sealed outputs of its stages are kept.

    \b
    mmgen cancel emoji-93140c25d35fbb27
    """
    from pipelines.cluster.client import connect
    from pipelines.cluster.runs import ENDED, STALE
    from pipelines.cluster.submit import find

    cluster = connect()
    found = find(cluster, run)
    if found.state in ENDED and found.state != STALE:
        raise ConfigError(f"run {found.name!r} has ended already, as {found.state}")
    cluster.cancel(found.run_id)
    click.echo(f"cancelling {found.name}; see: mmgen status {found.name}")


def _request(
    *,
    recipe: str | None,
    settings: tuple[str, ...],
    root: Path,
    data_root: Path,
    images: tuple[str, ...],
    dev: bool,
    promote: bool,
    profile: str,
    **where: str | None,
) -> Any:
    from mmgen.ops.runs.run import open_run
    from pipelines.cluster import submit as submitting

    named = images_of(images, dev)
    run = open_run(*chosen(recipe, settings), root, data_root)
    return submitting.request(run, promote, named, profile, **where)


def _show_schedules(zone: zoneinfo.ZoneInfo, as_json: bool) -> None:
    from pipelines.cluster import schedules
    from pipelines.cluster.client import connect

    now = datetime.datetime.now(datetime.UTC)
    found = [(one, one.coming(zone, now)) for one in schedules.listed(connect())]
    if as_json:
        answer([dataclasses.asdict(one) | {"next": coming} for one, coming in found])
        return
    head = ("schedule", "id", "state", "cron", "last", "next", "live")
    states = {True: "enabled", False: "disabled"}
    rows = [
        (one.name, one.schedule_id, states[one.enabled], one.cron, one.last, coming, ", ".join(one.live))
        for one, coming in found
    ]
    show_table([head, *rows])


def _plain(run: Any) -> dict[str, Any] | None:
    return None if run is None else dataclasses.asdict(run)
