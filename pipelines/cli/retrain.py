"""The verb `retrain`: what a CI job calls when data, settings or code have changed."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pipelines.choices import chosen
from pipelines.cli.options import json_option, promote_option, recipe_options
from pipelines.terminal import answer


@click.command()
@recipe_options
@promote_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default="runs/retrain",
    show_default=True,
    help="Folder for comment.md, retrain.json, samples and reports.",
)
@click.option("--files-url", default="", help="Address at which readers of the comment find that folder.")
@json_option
def retrain(
    recipe: str | None,
    settings: tuple[str, ...],
    root: Path,
    data_root: Path,
    promote: bool,
    out: Path,
    files_url: str,
    as_json: bool,
) -> None:
    """Retrain RECIPE if anything that matters has changed, and write a comment about it.

    Fetches the data that data.dvc names, validates them, and trains on the cluster at KFP_ENDPOINT, else here. Exit
    codes as for run: 20 when the data are refused, 30 when the gate kept the champion. The comment is always written.

    \b
    mmgen retrain --no-promote --out out
    """
    from mmgen.progress import choose
    from pipelines.retraining import comment
    from pipelines.retraining.retrain import retrain as retraining

    progress = choose(None, sys.stderr)
    try:
        outcome = retraining(*chosen(recipe, settings), root, data_root, progress, promote=promote)
    finally:
        progress.close()
    path = comment.write(outcome, out, files_url)
    if outcome.problem:
        click.echo(f"mmgen: {outcome.problem}", err=True)
    if as_json:
        answer(comment.facts(outcome))
    else:
        click.echo(path)
    sys.exit(outcome.exit_code)
