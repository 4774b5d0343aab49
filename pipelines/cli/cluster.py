"""Verbs about runs on a cluster: submit, schedule, status, logs, cancel."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import sys
from pathlib import Path
from typing import Any

import click

from mmgen.errors import ConfigError
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


@click.command()
@recipe_options
@cluster_options
@click.option(
    "--if-new", is_flag=True, help="Start nothing when the same run is live, has succeeded, or its model is there."
)
@click.option("--wait", is_flag=True, help="Follow the run to its end and answer with its exit code.")
@json_option
def submit(
    recipe: str | None,
    settings: tuple[str, ...],
    root: Path,
    data_root: Path,
    cluster_root: str | None,
    cluster_data: str | None,
    promote: bool,
    images: tuple[str, ...],
    dev: bool,
    profile: str,
    if_new: bool,
    wait: bool,
    as_json: bool,
) -> None:
    """Start RECIPE on the cluster at KFP_ENDPOINT.

    The run is named by its run key. The data that the pods see must be the version that lies here.

    \b
    mmgen submit --if-new --wait --image cpu=NAME@sha256:... --image gpu=NAME@sha256:...
    mmgen submit emoji --profile gpu --cluster-root s3://mmgen/runs --cluster-data s3://mmgen/data
    """
    from pipelines.cluster import submit as submitting
    from pipelines.cluster.client import connect

    request = _request(recipe, settings, root, data_root, promote, images, dev, profile, cluster_root, cluster_data)
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
@click.option("--cron", required=True, help='Five fields, "30 4 * * mon", or six with the second first.')
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
    recipe: str | None,
    settings: tuple[str, ...],
    root: Path,
    data_root: Path,
    cluster_root: str | None,
    cluster_data: str | None,
    promote: bool,
    images: tuple[str, ...],
    dev: bool,
    profile: str,
    cron: str,
    zone: str | None,
    cluster_zone: str,
    as_json: bool,
) -> None:
    """Start RECIPE on the cluster again and again, one at a time; a schedule of the same recipe is replaced.

    A run that finds every stage sealed does nothing more.

    \b
    mmgen schedule --cron "30 4 * * mon"
    """
    from pipelines.cluster import cron as crons
    from pipelines.cluster import submit as submitting
    from pipelines.cluster.client import connect

    checked = crons.parse(cron)
    where = crons.check_zone(zone or cluster_zone, cluster_zone)
    request = _request(recipe, settings, root, data_root, promote, images, dev, profile, cluster_root, cluster_data)
    made = submitting.schedule(connect(), request, checked.line)
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
    """Show the newest runs on the cluster, or the stages of RUN, named by id or name.

    \b
    mmgen status
    mmgen status emoji-93140c25d35fbb27
    """
    from pipelines.cluster.client import connect
    from pipelines.cluster.submit import find

    cluster = connect()
    if run is None:
        runs = cluster.runs()
        if as_json:
            answer([_plain(found) for found in runs])
        else:
            show_table([("run", "state", "created", "link"), *((r.name, r.state, r.created, r.link) for r in runs)])
        return
    found = find(cluster, run)
    if as_json:
        answer(_plain(found))
    else:
        show_table([("run", found.name), ("state", found.state), ("link", found.link), *found.stages.items()])
        if found.error:
            click.echo(found.error)


@click.command()
@click.argument("run", required=False)
@click.option("--stage", help="Only this stage.  [default: all that have started]")
def logs(run: str | None, stage: str | None) -> None:
    """Print what the pods of RUN, or of the newest run, have written.

    \b
    mmgen logs emoji-93140c25d35fbb27 --stage train
    """
    from mmgen.errors import unknown
    from mmgen.ops.keys import STAGES
    from pipelines.cluster.client import connect
    from pipelines.cluster.submit import find

    if stage is not None and stage not in STAGES:
        raise ConfigError(unknown("stage", stage, STAGES))
    cluster = connect()
    found = find(cluster, run)
    pods = {name: pods for name, pods in found.pods.items() if pods and stage in (None, name)}
    if not pods:
        raise ConfigError(f"run {found.name!r} has no pods yet{f' in stage {stage}' if stage else ''}; try again later")
    for name, names in pods.items():
        for pod in names:
            click.echo(f"== {name}: {pod}")
            click.echo(cluster.log(found.run_id, pod))


@click.command()
@click.argument("run")
def cancel(run: str) -> None:
    """Stop RUN, named by id or name; what its stages have sealed is kept.

    \b
    mmgen cancel emoji-93140c25d35fbb27
    """
    from pipelines.cluster.client import ENDED, connect
    from pipelines.cluster.submit import find

    cluster = connect()
    found = find(cluster, run)
    if found.state in ENDED:
        raise ConfigError(f"run {found.name!r} has ended already, as {found.state}")
    cluster.cancel(found.run_id)
    click.echo(f"cancelling {found.name}; see: mmgen status {found.name}")


def _request(
    recipe: str | None,
    settings: tuple[str, ...],
    root: Path,
    data_root: Path,
    promote: bool,
    images: tuple[str, ...],
    dev: bool,
    profile: str,
    cluster_root: str | None,
    cluster_data: str | None,
) -> Any:
    from mmgen.ops.stages import open_run
    from pipelines.cluster import submit as submitting

    named = images_of(images, dev)
    run = open_run(*chosen(recipe, settings), root, data_root)
    return submitting.request(run, data_root, promote, named, profile, cluster_root, cluster_data)


def _plain(run: Any) -> dict[str, Any] | None:
    return None if run is None else dataclasses.asdict(run)
