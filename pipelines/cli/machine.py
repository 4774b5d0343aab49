"""Verbs about this machine: whether it is fit, and MLflow's pages for what was run on it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mmgen.errors import ConfigError
from pipelines.cli.options import data_option, json_option, root_option
from pipelines.terminal import answer, show_table


@click.command()
@root_option
@click.option("--port", default=5000, show_default=True, help="Port on this machine.")
def ui(root: Path, port: int) -> None:
    """Serve MLflow's pages for the runs on this machine.

    \b
    mmgen ui --port 5001
    """
    from pipelines.local.doctor import serve_mlflow

    serve_mlflow(root, port)


@click.command()
@root_option
@data_option
@json_option
def doctor(root: Path, data_root: Path, as_json: bool) -> None:
    """Check that this machine can run a recipe.

    \b
    mmgen doctor
    """
    from pipelines.local.doctor import examine

    lines = examine(root, data_root)
    if as_json:
        answer(
            [{"what": what, "ok": not way_out, "found": found, "way_out": way_out} for what, found, way_out in lines]
        )
    else:
        show_table(
            [
                ("ok" if not way_out else "--", what, f"{found}; {way_out}" if way_out else found)
                for what, found, way_out in lines
            ]
        )
    if any(way_out for _, _, way_out in lines):
        sys.exit(ConfigError.exit_code)
