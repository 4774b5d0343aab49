"""Verbs `mmgen data import`, `add` and `diff`: data of the user's own and their versions."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pipelines.cli.options import Command, data_option, json_option
from pipelines.terminal import answer, show_table

LISTED = 10
"""Samples that were left out which are named on the terminal; all are in the report."""


def _options(command: Command) -> Command:
    """What import and add share."""
    decorators = (
        click.argument("folder", type=click.Path(path_type=Path)),
        click.option("--name", required=True, help="Name of the data set."),
        click.option(
            "--text",
            multiple=True,
            metavar="[LANGUAGE=]COLUMN",
            help="Column of captions; can repeat.  [default: text, caption or the like]",
        ),
        click.option("--language", default="en", show_default=True, help="Language of captions without one."),
        click.option("--group", metavar="COLUMN", help="Samples of one group are never in different splits."),
        click.option("--label", metavar="COLUMN", help="Column with classes, also for reports by group."),
        click.option(
            "--split",
            metavar="COLUMN",
            help="Column with train, validation or test.  [default: split, if present]",
        ),
        click.option("--layout", help="folder, coco, webdataset or parquet, when FOLDER matches several."),
        click.option("--budget", default=0.1, show_default=True, help="Largest share of bad samples to leave out."),
        click.option("--licence", default="", help="Licence of the data, for the card."),
        click.option("--credit", default="", help="Author of the data, for the card."),
        click.option("--url", default="", help="Address of the licence or source, for the card."),
        click.option("--workers", type=click.IntRange(1, 256), help="Processes.  [default: all cores]"),
        data_option,
        json_option,
    )
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


@click.command("import")
@click.option("--title", default="", help="Title of the data set, for the card.")
@_options
def import_(**given: Any) -> None:
    """Import a folder of your own as a data set.

    FOLDER holds metadata.jsonl or metadata.csv beside its files, a COCO captions JSON, WebDataset tars or Parquet
    tables. Every file is read once; a bad file is left out and listed with the reason.

    \b
    mmgen data import photos --name pets
    mmgen data import photos --name pets --text en=caption --text de=titel --group animal_id
    """
    from mmgen.data.imports.importer import import_data

    _do(import_data, **given)


@click.command()
@_options
def add(**given: Any) -> None:
    """Add a folder to an imported data set: its next version.

    Existing samples stay in their splits; a new sample goes to the split of its group or near duplicates, if any.

    \b
    mmgen data add more_photos --name pets
    """
    from mmgen.data.imports.adding import add_data

    _do(add_data, **given)


@click.command()
@click.argument("before")
@click.argument("after", required=False)
@click.option(
    "--rev", default="HEAD", show_default=True, help="Commit whose version is compared, when AFTER is left out."
)
@click.option("--workers", type=click.IntRange(1, 256), help="Processes.  [default: all cores]")
@data_option
@json_option
def diff(before: str, after: str | None, rev: str, workers: int | None, data_root: Path, as_json: bool) -> None:
    """Show what changed from data set BEFORE to AFTER.

    With one name, compare the version that DVC keeps for a commit with the present one. Samples added, removed, changed
    and moved, captions, new words, copies of existing samples, pictures that two splits share, and whether pictures
    and captions as a whole moved by more than chance.

    \b
    mmgen data diff pets more_pets
    mmgen data diff pets --rev HEAD~1
    """
    import tempfile

    from mmgen.data.changes.difference import difference
    from mmgen.ops.validation.data_pin import get_version
    from mmgen.progress import choose

    first, second = (data_root / name for name in (before, after or before))
    progress = choose(None, sys.stderr)
    with tempfile.TemporaryDirectory(prefix="mmgen-diff-") as scratch:
        if after is None:
            first = get_version(first, rev, Path(scratch) / before)
        try:
            found = difference(first, second, progress, workers or os.cpu_count() or 1)
        finally:
            progress.close()
    counted: dict[str, Any] = {
        "added": [seen.key for seen in found.added],
        "removed": [seen.key for seen in found.removed],
        "changed": [seen.key for seen in found.changed],
        "moved": [f"{was.key}: {was.split} to {now.split}" for was, now in found.moved],
        "retold": [f"{was.key}: {_words(was)} to {_words(now)}" for was, now in found.retold],
        "new words": found.new_words,
        "copies": [f"{new.key} of {old.split}/{old.key}" for new, old in found.copies],
        "leaks": [f"{one.split}/{one.key} and {two.split}/{two.key}" for one, two in found.leaks],
    }
    if as_json:
        embeddings = {kind: dataclasses.asdict(shift) for kind, shift in found.shifts.items()}
        for kind, shift in found.shifts.items():
            embeddings[kind]["beyond_chance"] = shift.beyond_chance
        answer({"splits": found.splits, **counted, "embeddings": embeddings})
        return
    rows = [(f"split {split}", f"{was} to {now} samples") for split, (was, now) in found.splits.items()]
    rows += [(name, _listed(names)) for name, names in counted.items()]
    for kind, shift in found.shifts.items():
        verdict = "more than chance" if shift.beyond_chance else "no more than chance"
        halves = f"random halves of the old version {_bounds(shift.chance)}, {shift.n} samples each"
        rows += [(f"{kind} moved", f"{verdict}: {_bounds(shift.distance)}, {halves}")]
        far = [f"{key} ({distance:.3g} from {nearest})" for key, distance, nearest in shift.foreign]
        rows += [(f"{kind}, most foreign", _listed(far))]
    show_table(rows)


def _words(seen: Any) -> str:
    return repr(next(iter(seen.captions.values()), ""))


def _bounds(figure: tuple[float, float, float]) -> str:
    mean, low, high = figure
    return f"{mean:.3g} (95 % of draws {low:.3g} to {high:.3g})"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{len(names)}" + (f": {', '.join(names[:LISTED])}{more}" if names else "")


def _do(
    work: Callable[..., Any],
    *,
    text: tuple[str, ...],
    language: str,
    group: str | None,
    label: str | None,
    split: str | None,
    workers: int | None,
    data_root: Path,
    as_json: bool,
    **rest: Any,
) -> None:
    from mmgen.data.imports.columns import Columns
    from mmgen.data.imports.gather import Import
    from mmgen.progress import choose

    named = [one.rpartition("=")[::2] for one in text]
    columns = Columns({code or language: column for code, column in named}, language, group, label, split)
    asked = Import(columns=columns, **rest)
    progress = choose(None, sys.stderr)
    try:
        done = work(asked, data_root, progress, workers or os.cpu_count() or 1)
    finally:
        progress.close()
    if as_json:
        lists = {"refused": done.refused, "left_out": done.left_out}
        answer(
            {"name": asked.name, "version": done.version, "splits": done.samples, "report": str(done.report)}
            | {kind: [{"name": one.name, "reason": one.reason} for one in found] for kind, found in lists.items()}
        )
        return
    out = done.refused + done.left_out
    for one in out[:LISTED]:
        click.echo(f"left out: {one.name}: {one.reason}", err=True)
    if len(out) > LISTED:
        click.echo(f"left out: {len(out) - LISTED} more, see {done.report}", err=True)
    if not asked.licence:
        click.echo("no licence was stated; the card can say it with --licence, --credit and --url", err=True)
    rows = [("data set", str(done.folder)), ("version", done.version)]
    rows += [(f"split {name}", f"{count} new samples") for name, count in done.samples.items()]
    rows += [("left out", f"{len(done.refused)} bad, {len(done.left_out)} for another reason; {done.report}")]
    rows += [("look", f"mmgen data info {asked.name}"), ("train", f"mmgen run emoji --set data.name={asked.name}")]
    show_table(rows)
