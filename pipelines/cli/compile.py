"""The verb that compiles the pipeline for a cluster."""

from __future__ import annotations

from pathlib import Path

import click

from mmgen.errors import ConfigError
from pipelines.cli.options import images_options, profile_option


@click.command("compile")
@click.option("--check", is_flag=True, help="Only compare with the committed files; exit code 10 when they differ.")
@images_options
@profile_option
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File to compile to, for a cluster.")
def compile_(check: bool, images: tuple[str, ...], dev: bool, profile: str, out: Path | None) -> None:
    """Compile the pipeline for a Kubeflow cluster; without --out, to the committed files of every profile.

    \b
    mmgen compile --check
    mmgen compile --profile gpu --image cpu=NAME@sha256:... --image gpu=NAME@sha256:... --out mmgen-train.yaml
    """
    from pipelines.cluster import compile as compiling
    from pipelines.cluster.images import parse

    if out is not None:
        compiling.write_to(out, parse(images, dev=dev), profile)
        click.echo(out)
    elif images:
        raise ConfigError("the committed files name no real images; say with --out where the compiled pipeline goes")
    elif check:
        compiling.check()
        click.echo("pipelines/compiled/ is what the code compiles to")
    else:
        for path in compiling.write():
            click.echo(path)
