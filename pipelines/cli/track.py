"""Verbs on what MLflow is told: send what waits in the outbox, end the runs of the dead."""

from __future__ import annotations

from pathlib import Path

import click

from mmgen.errors import TrackingError
from pipelines.cli.options import Group, json_option, root_option
from pipelines.terminal import answer


@click.group(cls=Group)
def track() -> None:
    """Mend what MLflow shows after a failure of it or of a run."""


@track.command()
@root_option
@json_option
def flush(root: Path, as_json: bool) -> None:
    """Send what MLflow could not take when it happened.

    Runs whose process is dead end as KILLED. Exit code 40 when something is left.

    \b
    mmgen track flush
    """
    from mmgen.ops.tracking import outbox
    from mmgen.ops.tracking.client import tracking_uri
    from mmgen.ops.tracking.delivery import send_waiting

    before = len(outbox.waiting(root))
    problems = [problem for problem in send_waiting(tracking_uri(root), root) if problem]
    left = len(outbox.waiting(root))
    if as_json:
        answer({"sent": before - left, "left": left, "problems": problems})
    else:
        click.echo(f"{before - left} stages sent, {left} left")
    if problems:
        raise TrackingError(problems[0])


@track.command()
@root_option
@json_option
@click.option("--stale", default=30.0, show_default=True, help="Minutes without a heartbeat.")
@click.option("--watch", default=90.0, show_default=True, help="Seconds to observe a run before it is ended.")
def reap(root: Path, as_json: bool, stale: float, watch: float) -> None:
    """End runs that MLflow shows as running though they are dead.

    For a timer: `mmgen` does it by itself where it runs.

    \b
    mmgen track reap
    """
    from mmgen.ops.tracking.dead_runs import reap as end_the_dead

    ended = end_the_dead(root, 60 * stale, watch)
    if as_json:
        answer({"ended": ended})
    else:
        click.echo(f"{len(ended)} runs ended as KILLED" + "".join(f"\n{run_id}" for run_id in ended))
