"""The command line `mmgen`: one function for each command, no logic. It is the outermost layer; nothing imports it.

Exit codes: 0 ok, 2 usage, 10 configuration, 20 data refused, 30 gate kept the champion, 40 transient,
50 out of memory, 60 interrupted, 70 budget spent. Results go to standard output, progress and errors to standard error.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click

from mmgen.errors import MmgenError
from pipelines.choices import chosen
from pipelines.cli.check import cluster
from pipelines.cli.cluster import cancel, logs, schedule, status, submit
from pipelines.cli.compile import compile_
from pipelines.cli.data import data
from pipelines.cli.generate import generate
from pipelines.cli.imports import add, diff, import_
from pipelines.cli.inspect import inspect
from pipelines.cli.machine import doctor, ui
from pipelines.cli.models import compare, gc, history, lineage, promote, rollback
from pipelines.cli.options import (
    Group,
    containers_of,
    init_option,
    json_option,
    out_option,
    recipe_options,
    run_stage,
    runner_options,
    started,
)
from pipelines.cli.publish import publish
from pipelines.cli.retrain import retrain
from pipelines.cli.serve import serve
from pipelines.cli.systems import ablate, recipes, systems
from pipelines.cli.track import track
from pipelines.terminal import KEPT_CHAMPION, answer, show_table

INTERRUPTED = 60


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="mmgen")
def cli() -> None:
    """Train, evaluate and register any-to-any generators from a versioned data set.

    \b
    mmgen run                                                  train, judge and register the default recipe
    mmgen generate --from text="red heart" --to image --out heart.png
    """


@cli.command()
@recipe_options
@init_option
@runner_options
@json_option
def run(
    recipe: str | None,
    settings: tuple[str, ...],
    root: Path,
    data_root: Path,
    init_from: str | None,
    as_json: bool,
    **how: Any,
) -> None:
    """Run the whole pipeline on this machine.

    Stages that are done already for RECIPE and its settings do not run again.

    \b
    mmgen run
    mmgen run emoji --set training.steps=500 --set seed=1
    mmgen run emoji --set data.name=pets --init-from champion
    mmgen run --runner docker --image cpu=NAME@sha256:... --image gpu=NAME@sha256:...
    """
    from mmgen.ops.runs.cache import flaw
    from mmgen.ops.runs.keys import STAGES
    from mmgen.ops.runs.run import open_run
    from mmgen.progress import choose
    from pipelines.local.plan import missing_data
    from pipelines.local.run import run_pipeline
    from pipelines.local.summary import show, summarise

    began = time.monotonic()
    containers = containers_of(**how)
    name, overrides = started(recipe, settings, init_from, root)
    progress = choose(None, sys.stderr)
    try:
        if missing := missing_data(name, overrides, data_root):
            _build(missing, data_root, progress)
        opened = open_run(name, overrides, root, data_root)
        for stage in STAGES:
            progress.stage(stage, "waiting")
        if all(flaw(opened.folder(stage)) is None for stage in STAGES):
            states = dict.fromkeys(STAGES, ("cached", 0.0))
        else:
            states = run_pipeline(opened, progress, containers)
    finally:
        progress.close()
    summary = summarise(opened, states, began)
    if as_json:
        answer(summary)
    else:
        show(summary)
    if summary["gate"]["decision"] == "keep":
        sys.exit(KEPT_CHAMPION)


def _build(name: str, data_root: Path, progress: Any) -> None:
    from mmgen.data.sources.build import build

    began = time.monotonic()
    progress.stage("data", "running")
    build(name, data_root)
    progress.stage("data", "ran", time.monotonic() - began)


@cli.command()
@recipe_options
@json_option
def plan(recipe: str | None, settings: tuple[str, ...], root: Path, data_root: Path, as_json: bool) -> None:
    """Show which stages of RECIPE would run, and why.

    \b
    mmgen plan --set training.lr=0.001
    """
    from pipelines.local.plan import plan as planned
    from pipelines.local.plan import rows

    found = planned(*chosen(recipe, settings), root, data_root)
    if as_json:
        answer(found)
    else:
        show_table(rows(found))


@cli.command()
@recipe_options
@out_option
def judge(recipe: str | None, settings: tuple[str, ...], root: Path, data_root: Path, out: Path) -> None:
    """Train the judge of RECIPE, without the pipeline.

    \b
    mmgen judge emoji --out out/judge
    """
    run_stage("judge", recipe, settings, root, data_root, out)


@cli.command()
@recipe_options
@init_option
@out_option
@click.option("--curves", type=click.Path(path_type=Path, dir_okay=False), help="Also write the curves, a JSON list.")
def train(
    recipe: str | None,
    settings: tuple[str, ...],
    root: Path,
    data_root: Path,
    init_from: str | None,
    out: Path,
    curves: Path | None,
) -> None:
    """Train RECIPE, without the pipeline.

    \b
    mmgen train emoji --set training.steps=500 --out out/train
    """
    from pipelines.local.summary import write_curves

    name, overrides = started(recipe, settings, init_from, root)
    opened = run_stage("train", name, overrides, root, data_root, out)
    if curves:
        write_curves(opened, curves)


@cli.command()
@recipe_options
@out_option
@click.option(
    "--metrics", type=click.Path(path_type=Path, dir_okay=False), help="Also write the scores, name to value."
)
def evaluate(
    recipe: str | None, settings: tuple[str, ...], root: Path, data_root: Path, out: Path, metrics: Path | None
) -> None:
    """Score RECIPE, without the pipeline.

    If needed, RECIPE is trained first. When --data names one data set instead of the folder of all, the model that was
    trained on its own data is evaluated on that one as well, and the gap between the two is shown.

    \b
    mmgen evaluate emoji --out out/evaluate --metrics out/metrics.json
    mmgen evaluate emoji --data data/pets --out out/pets
    """
    from pipelines.local.summary import write_flat

    other = data_root if (data_root / "dataset.json").is_file() else None
    opened = run_stage("evaluate", recipe, settings, root, other.parent if other else data_root, out, other)
    if metrics:
        write_flat(opened, metrics)


VERBS: tuple[click.Command, ...] = (
    compile_,
    publish,
    recipes,
    systems,
    ablate,
    data,
    generate,
    serve,
    inspect,
    compare,
    promote,
    rollback,
    history,
    lineage,
    gc,
    track,
    submit,
    schedule,
    status,
    logs,
    cancel,
    cluster,
    retrain,
    ui,
    doctor,
)

for verb in VERBS:
    cli.add_command(verb)
for verb in (import_, add, diff):
    data.add_command(verb)


def main() -> None:
    """Entry point: every error becomes one line and an exit code; only a bug keeps its traceback."""
    try:
        cli.main(prog_name="mmgen", standalone_mode=False)
    except MmgenError as error:
        sys.exit(_complain(str(error), error.exit_code))
    except click.ClickException as error:
        sys.exit(_complain(f"{error.format_message()}; see: {_path(error)} --help", error.exit_code))
    except (KeyboardInterrupt, click.Abort):
        sys.exit(_complain("interrupted; what is sealed is kept, run again to go on", INTERRUPTED))
    except BrokenPipeError:  # the reader of our output, such as head, has gone
        sys.stdout = None
        sys.exit(0)


def _complain(line: str, exit_code: int) -> int:
    print(f"mmgen: {line}", file=sys.stderr)
    return exit_code


def _path(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    return context.command_path if context else "mmgen"


if __name__ == "__main__":
    main()
