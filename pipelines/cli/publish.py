"""The verb that puts the pipeline into Kubeflow's pages."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from pipelines.cli.cluster import cluster_options
from pipelines.cli.options import data_option, json_option, root_option
from pipelines.terminal import answer, show_table


@click.command()
@click.argument("recipe", required=False)
@root_option
@data_option
@cluster_options
@json_option
def publish(
    recipe: str | None,
    root: Path,
    data_root: Path,
    cluster_root: str | None,
    cluster_data: str | None,
    promote: bool,
    images: tuple[str, ...],
    dev: bool,
    profile: str,
    as_json: bool,
) -> None:
    """Upload the pipeline to Kubeflow's pages, with its form filled in; RECIPE is the form's default.

    The version is named after the git commit. Publishing the same content again changes nothing.

    \b
    mmgen publish --image cpu=NAME@sha256:... --image gpu=NAME@sha256:... --root s3://mmgen/runs --data s3://mmgen/data
    mmgen publish --profile gpu
    """
    from mmgen.ops.storage.roots import address
    from pipelines.choices import chosen
    from pipelines.cluster.client import connect
    from pipelines.cluster.form import Form
    from pipelines.cluster.images import images_of
    from pipelines.cluster.profiles import PROFILES
    from pipelines.cluster.publish import publish as upload

    name, settings = chosen(recipe, ())
    form = Form(
        recipe=name,
        settings="; ".join(filter(None, (PROFILES[profile].settings, *settings))),
        root=cluster_root or address(root),
        data=cluster_data or address(data_root),
        promote=promote,
    )
    done = upload(connect(), images_of(images, dev), profile, form)
    if as_json:
        answer(dataclasses.asdict(done))
    else:
        show_table([("pipeline", done.pipeline), ("version", done.version), ("experiment", done.experiment)])
