"""Verb `serve`: a registered model behind HTTP."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.choices import named_model
from pipelines.cli.options import recipe_option, root_option


@click.command()
@click.option("--model", default="champion", show_default=True, metavar="champion|VERSION|PATH", help="Model to use.")
@recipe_option
@root_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 for a free one.")
def serve(model: str, recipe: str | None, root: Path, host: str, port: int) -> None:
    """Serve a model over HTTP until stopped, after a check against its registration.

    \b
    mmgen serve
    mmgen serve --recipe emoji --model 3 --port 8081
    """
    from mmgen.ops.serving import server

    name, folder = named_model(model, recipe, root)
    server.serve(folder, name, host=host, port=port)
