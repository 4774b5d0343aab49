"""Verbs on models that exist: compare, promote, rollback, history, lineage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipelines.options import answer, json_option, model_name, recipe_option, root_option, show_table


@click.command()
@click.argument("a")
@click.argument("b")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default="compare.png",
    show_default=True,
    help="Picture with the sample grids side by side.",
)
@root_option
@json_option
def compare(a: str, b: str, out: Path, root: Path, as_json: bool) -> None:
    """Compare two runs or versions.

    Scores of A and B with intervals, and their sample grids side by side in one picture.

    \b
    mmgen compare mmgen-emoji/1 mmgen-emoji/2
    """
    from pipelines import comparison

    first, second = comparison.find(root, a), comparison.find(root, b)
    rows = comparison.scores(first, second)
    comparison.side_by_side(first, second, (a, b), out)
    if as_json:
        answer({"a": a, "b": b, "metrics": rows, "grids": str(out)})
        return
    show_table(comparison.table(rows, (a, b)))
    click.echo(f"\n{out}")


@click.command()
@click.argument("version")
@recipe_option
@root_option
@json_option
def promote(version: str, recipe: str | None, root: Path, as_json: bool) -> None:
    """Make VERSION the champion by hand.

    The champion of now becomes `previous`.

    \b
    mmgen promote 3
    """
    from mmgen.ops import registry

    _tell(registry.promote(root, model_name(recipe), version), as_json)


@click.command()
@recipe_option
@root_option
@json_option
def rollback(recipe: str | None, root: Path, as_json: bool) -> None:
    """Make the previous champion the champion again.

    \b
    mmgen rollback
    """
    from mmgen.ops import registry

    _tell(registry.rollback(root, model_name(recipe)), as_json)


@click.command()
@recipe_option
@root_option
@json_option
def history(recipe: str | None, root: Path, as_json: bool) -> None:
    """List the registered versions, newest first.

    \b
    mmgen history
    """
    from mmgen.ops import registry

    versions = registry.history(root, model_name(recipe))
    if as_json:
        answer([_plain(version) for version in versions])
    elif not versions:
        click.echo(f"{model_name(recipe)} has no versions yet; run: mmgen run")
    else:
        show_table(
            [("version", "aliases", "created", "verdict", "run key")]
            + [
                (
                    version.version,
                    ", ".join(version.aliases),
                    version.created,
                    version.tags.get("mmgen.verdict", ""),
                    version.tags.get("mmgen.run_key", ""),
                )
                for version in versions
            ]
        )


@click.command()
@click.argument("any_id")
@root_option
@json_option
def lineage(any_id: str, root: Path, as_json: bool) -> None:
    """From any id of a run to all the others.

    ANY_ID is a git commit, data version, KFP run, MLflow run, model version or run key.

    \b
    mmgen lineage mmgen-emoji/1
    """
    import dataclasses

    from mmgen.ops.lineage import lineage as trace

    found = dataclasses.asdict(trace(root, any_id))
    if as_json:
        answer(found)
    else:
        show_table([(name, str(value)) for name, value in found.items() if not isinstance(value, tuple)])


def _tell(version: Any, as_json: bool) -> None:
    if as_json:
        answer(_plain(version))
    else:
        click.echo(f"{version.name} version {version.version} is now {', '.join(version.aliases)}")


def _plain(version: Any) -> dict[str, Any]:
    return {
        "name": version.name,
        "version": version.version,
        "aliases": list(version.aliases),
        "created": version.created,
        "tags": version.tags,
    }
