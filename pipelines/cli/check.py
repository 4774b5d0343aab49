"""Verbs about a cluster itself: `mmgen cluster check`."""

from __future__ import annotations

import dataclasses
import sys

import click

from mmgen.errors import ConfigError
from mmgen.ops.distributed import cluster_names
from pipelines.cli.options import Group, images_options, json_option, profile_option
from pipelines.terminal import answer

MARKS = {True: "ok", False: "--", None: "??"}


@click.group(cls=Group)
def cluster() -> None:
    """A cluster with Kubeflow, before runs go there."""


@cluster.command()
@profile_option
@images_options
@click.option(
    "--namespace",
    envvar="KFP_NAMESPACE",
    show_envvar=True,
    default=cluster_names.NAMESPACE,
    show_default=True,
    help="Namespace of the runs.",
)
@click.option("--pods", is_flag=True, help="Also start a pod like those of a run, and report what it can reach.")
@json_option
def check(profile: str, images: tuple[str, ...], dev: bool, namespace: str, pods: bool, as_json: bool) -> None:
    """List what a run would lack at KFP_ENDPOINT and in the cluster of KUBECONFIG, one line each with the remedy.

    `ok` means present, `--` missing, `??` not checked. Without --pods nothing is started; with it, short Jobs
    show whether images can be pulled and which connections the network allows.

    \b
    mmgen cluster check
    mmgen cluster check --profile gpu --pods
    """
    from pipelines.cluster.check.examine import examine
    from pipelines.cluster.check.images import named

    chosen, first = named(images, dev)
    found = []
    for finding in (first, *examine(namespace, profile, chosen, inside=pods)):
        found.append(finding)
        if not as_json:
            way_out = f"; {finding.way_out}" if finding.way_out else ""
            click.echo(f"{MARKS[finding.ok]}  {finding.what}: {finding.found}{way_out}")
    if as_json:
        answer([dataclasses.asdict(finding) for finding in found])
    if any(finding.ok is False for finding in found):
        sys.exit(ConfigError.exit_code)
