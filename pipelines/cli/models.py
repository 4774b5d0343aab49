"""Verbs on models that exist: compare, promote, rollback, history, lineage, gc."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mmgen.errors import StorageError
from pipelines.choices import model_name
from pipelines.cli.options import json_option, recipe_option, root_option
from pipelines.terminal import answer, show_table

dry_run_option = click.option("--dry-run", is_flag=True, help="Check everything and change nothing.")


@click.command()
@click.argument("a")
@click.argument("b")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default="compare.html",
    show_default=True,
    help="Page with the scores and the sample grids side by side.",
)
@root_option
@json_option
def compare(a: str, b: str, out: Path, root: Path, as_json: bool) -> None:
    """Compare two runs, versions or families.

    The page has the scores of A and B with intervals, the paired difference where both have the same prompts, and the
    samples of both side by side. A and B are recipes (their champions), model versions, run keys, or sealed folders
    of stage train or evaluate.

    \b
    mmgen compare mmgen-emoji/1 mmgen-emoji/2
    mmgen compare emoji show-and-tell
    """
    from mmgen.files import write_bytes
    from pipelines.studies import comparison
    from pipelines.studies.comparison_page import write_page

    first, second = comparison.find(root, a), comparison.find(root, b)
    rows = comparison.scores(first, second)
    write_bytes(out, write_page(first, second, (a, b), rows).encode())
    if as_json:
        answer({"a": a, "b": b, "metrics": rows, "page": str(out)})
        return
    show_table(comparison.table(rows, (a, b)))
    click.echo(f"\n{out}")


@click.command()
@click.argument("version")
@recipe_option
@click.option("--approve", is_flag=True, help="Promote also a version that the gate did not promote.")
@click.option("--expect", metavar="VERSION", help="Only if this version is champion now.")
@dry_run_option
@root_option
@json_option
def promote(
    version: str, recipe: str | None, approve: bool, expect: str | None, dry_run: bool, root: Path, as_json: bool
) -> None:
    """Make VERSION the champion by hand.

    The present champion becomes `previous`. The log of promotions records who made the change.

    \b
    mmgen promote 3
    mmgen promote 4 --approve --expect 3
    """
    from mmgen.ops.registry import champions

    name = model_name(recipe)
    if not approve:
        champions.check_verdict(root, name, version)
    found = champions.promote(root, name, version, expected=expect, dry_run=dry_run)
    _tell(found, as_json, dry_run)


@click.command()
@recipe_option
@dry_run_option
@root_option
@json_option
def rollback(recipe: str | None, dry_run: bool, root: Path, as_json: bool) -> None:
    """Make the previous champion the champion again.

    \b
    mmgen rollback --dry-run
    mmgen rollback
    """
    from mmgen.ops.registry import champions

    _tell(champions.rollback(root, model_name(recipe), dry_run=dry_run), as_json, dry_run)


@click.command()
@recipe_option
@click.option("--moves", "only_moves", is_flag=True, help="List the changes of champion: when, by whom, and why.")
@root_option
@json_option
def history(recipe: str | None, only_moves: bool, root: Path, as_json: bool) -> None:
    """List the registered versions, newest first.

    With --moves, list the changes of champion instead, oldest first, after a check of their log.

    \b
    mmgen history
    mmgen history --moves
    """
    from mmgen.ops.registry import registry

    name = model_name(recipe)
    if only_moves:
        _moves(root, name, as_json)
        return
    versions = registry.history(root, name)
    if as_json:
        answer([_plain(version) for version in versions])
    elif not versions:
        click.echo(f"{name} has no versions yet; run: mmgen run")
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


def _moves(root: Path, name: str, as_json: bool) -> None:
    import dataclasses

    from mmgen.ops.registry.promotions import moves
    from mmgen.ops.storage.exclusive import shelf

    found = moves(shelf(root), name)
    if as_json:
        answer([dataclasses.asdict(move) for move in found])
    elif not found:
        click.echo(f"the champion of {name} has never changed; run: mmgen run")
    else:
        rows = [
            (
                str(move.number),
                move.at,
                move.action,
                f"{move.before or '-'} -> {move.version}",
                move.by,
                move.reason[:80],
            )
            for move in found
        ]
        show_table([("move", "at", "action", "champion", "by", "reason"), *rows])


@click.command()
@click.argument("any_id", required=False)
@click.option("--check", "only_check", is_flag=True, help="Compare all places that record where models come from.")
@root_option
@json_option
def lineage(any_id: str | None, only_check: bool, root: Path, as_json: bool) -> None:
    """Find all ids of a run from one of them.

    ANY_ID is a git commit, data version, KFP run, MLflow run, model version or run key. With --check, compare the
    registry's tags with MLflow's runs, the registered models' seals, the log of promotions and Kubeflow's
    artifacts; exit code 40 when two of them disagree.

    \b
    mmgen lineage mmgen-emoji/1
    mmgen lineage --check
    """
    import dataclasses

    if only_check:
        _check_lineage(root, as_json)
        return
    if any_id is None:
        raise click.UsageError("name an id, or --check", click.get_current_context())
    from mmgen.ops.registry.lineage import lineage as trace

    found = dataclasses.asdict(trace(root, any_id))
    if as_json:
        answer(found)
    else:
        show_table([(name, str(value)) for name, value in found.items() if not isinstance(value, tuple)])


def _check_lineage(root: Path, as_json: bool) -> None:
    from mmgen.ops.registry.lineage_check import check

    found = check(root)
    if as_json:
        answer({"compared": dict(found.places), "disagreements": found.disagreements})
    else:
        show_table([("place", "compared"), *((place, str(count)) for place, count in sorted(found.places.items()))])
        for line in found.disagreements:
            click.echo(line)
    if found.disagreements:
        raise StorageError(f"{len(found.disagreements)} places disagree on where models come from; do not promote them")


@click.command()
@click.option(
    "--older-than",
    "days",
    type=click.FloatRange(min=0),
    default=14,
    show_default=True,
    help="Days without use.",
)
@dry_run_option
@root_option
@json_option
def gc(days: float, dry_run: bool, root: Path, as_json: bool) -> None:
    """Delete what no run and no named version needs.

    Everything from which champions, previous champions, challengers and open runs were made is kept. MLflow, the log of
    promotions and data sets are not touched.

    \b
    mmgen gc --dry-run
    mmgen gc --older-than 30
    """
    from mmgen.ops.housekeeping.gc import garbage, remove

    found = garbage(root, days=days)
    gone = found if dry_run else remove(found, days=days)
    total = sum(thing.bytes for thing in gone)
    if as_json:
        things = [{"path": str(thing.path), "bytes": thing.bytes, "what": thing.what} for thing in gone]
        answer({"dry_run": dry_run, "bytes": total, "things": things})
        return
    show_table([(f"{thing.bytes / 2**20:.1f} MiB", str(thing.path), thing.what) for thing in gone])
    click.echo(f"{total / 2**20:.1f} MiB in {len(gone)} things {'would go' if dry_run else 'are gone'}")


def _tell(version: Any, as_json: bool, dry_run: bool) -> None:
    if as_json:
        answer({**_plain(version), "dry_run": dry_run})
    elif dry_run:
        click.echo(f"{version.name} version {version.version} would become champion; nothing was changed")
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
