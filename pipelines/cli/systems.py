"""Verbs on all recipes: list them, and run them all."""

from __future__ import annotations

import textwrap
from pathlib import Path

import click

from pipelines.cli.options import data_option, json_option, root_option
from pipelines.terminal import answer


@click.command()
@json_option
def recipes(as_json: bool) -> None:
    """List the recipes with their cost and their scores.

    \b
    mmgen recipes
    """
    from mmgen.files import read_json
    from mmgen.recipes import NAMES, about
    from pipelines.studies.systems import MEASURED

    measured = read_json(MEASURED) if MEASURED.is_file() else {}
    found = {name: {"about": about(name), "measured": measured.get(name, {})} for name in NAMES}
    if as_json:
        answer(found)
        return
    for name, entry in found.items():
        click.echo(f"{name}\n{textwrap.indent(str(entry['about']), '    ')}")
        for size, run in entry["measured"].items():
            scores = ", ".join(f"{score['name']} {score['value']:.3f}" for score in run["scores"][:3])
            click.echo(
                f"    {size}: {run['minutes']:.1f} minutes, {run['parameters'] / 1e6:.1f} M parameters; {scores}"
            )
        click.echo()


@click.command()
@click.argument("names", nargs=-1)
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Runs of each variant.")
@root_option
@data_option
def ablate(names: tuple[str, ...], seeds: int, root: Path, data_root: Path) -> None:
    """Measure the effect of transfer learning, multi-task learning, augmentation and sampling.

    Each improvement is run with and without, with the same steps and seeds, and the differences go to docs/systems.md.
    NAMES are ablations; all of them, when none is named.

    \b
    mmgen ablate augment-captioner --seeds 2
    """
    from mmgen.files import read_json
    from pipelines.studies.ablations import ABLATED, ABLATIONS, table
    from pipelines.studies.ablations import ablate as run
    from pipelines.studies.systems import write_page

    run(names or tuple(ABLATIONS), seeds, root, data_root)
    write_page()
    click.echo("\n".join(table(read_json(ABLATED))))


@click.command()
@click.argument("names", nargs=-1)
@click.option("--size", type=click.Choice(["small", "default"]), default="small", show_default=True)
@root_option
@data_option
def systems(names: tuple[str, ...], size: str, root: Path, data_root: Path) -> None:
    """Run recipes one after the other and write docs/systems.md.

    NAMES are recipes; all of them, when none is named. Data sets that are missing are built, those from npm and Debian
    too.

    \b
    mmgen systems gan vae
    """
    from mmgen.recipes import NAMES, get
    from pipelines.studies.systems import PAGE, measure

    for name in names:
        get(name)
    measure(names or NAMES, size, root, data_root)
    click.echo(PAGE)
