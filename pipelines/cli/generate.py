"""Verb `generate`: any modality that a model knows in, any out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mmgen.errors import ConfigError
from pipelines.choices import model_folder
from pipelines.cli.options import json_option, read_things, recipe_option, root_option, things_option
from pipelines.terminal import answer


@click.command()
@things_option
@click.option("--to", required=True, metavar="image|text|sound|video|music|all", help="Modality to generate.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File to write; text is also printed.")
@click.option("-n", "count", type=click.IntRange(1, 64), default=1, show_default=True, help="Number of samples.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Same seed, same bytes.")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="Option of the family, such as steps=4.")
@click.option("--model", default="champion", show_default=True, metavar="champion|VERSION|PATH", help="Model to use.")
@recipe_option
@root_option
@json_option
def generate(
    given: tuple[str, ...],
    to: str,
    out: Path | None,
    count: int,
    seed: int,
    options: tuple[str, ...],
    model: str,
    recipe: str | None,
    root: Path,
    as_json: bool,
) -> None:
    """Make a picture from words, speech from text, a video from a picture, and so on.

    With -n above 1 the samples are numbered files beside FILE; for pictures, FILE itself is a grid. The modalities
    that a model supports depend on its recipe: mmgen recipes.

    \b
    mmgen generate --from text="red heart" --to image --out heart.png
    mmgen generate --from image=heart.png --to text
    mmgen generate --recipe gan --to image --out digits.png -n 16
    """
    things = {source: found[-1] for source, found in read_things(given).items()}
    if to != "text" and out is None:
        raise click.UsageError(f"--to {to} needs --out FILE", click.get_current_context())
    from mmgen.generate import Generator

    generator = Generator.load(model_folder(model, recipe, root))
    for word, near in generator.unknown_words(str(things.get("text", ""))).items():
        hint = f"; the nearest that it knows is {near!r}" if near else ""
        click.echo(f"mmgen: the model has never met the word {word!r}{hint}", err=True)
    made = generator.generate(**things, to=to, n=count, seed=seed, **dict(_option(item) for item in options))
    files = _write(made, to, out, seed) if out else []
    texts = made if to == "text" else [thing["text"] for thing in made if "text" in thing] if to == "all" else []
    if as_json:
        answer({"files": [str(path) for path in files], "texts": texts})
    else:
        click.echo("\n".join(made if to == "text" else [str(files[0])]))


def _option(item: str) -> tuple[str, Any]:
    """`steps=4` as a name and a number; what is no number is a word."""
    name, equals, value = item.partition("=")
    if not equals or not name.isidentifier():
        raise ConfigError(f"--option {item!r} has no name or no '='; write it as steps=4")
    for kind in (int, float):
        try:
            return name, kind(value)
        except ValueError:
            continue
    return name, value


def _write(made: list[Any], to: str, out: Path, seed: int) -> list[Path]:
    """Write what was made; the first of the returned files shows all of it where there is such a file."""
    from mmgen.examples import Example, sheet
    from mmgen.modalities import contact_sheet, image, media

    if to == "text":
        media.module("text").write("\n".join(made), out)
        return [out]
    if to != "all" and len(made) == 1:
        media.module(to).write(made[0], out)
        return [out]
    numbered = [out.with_stem(f"{out.stem}-{place + 1}") for place in range(len(made))]
    if to == "all":
        image.write(sheet([Example(f"seed {seed}, {place + 1}", thing) for place, thing in enumerate(made)]), out)
        files = [out]
        for thing, path in zip(made, numbered, strict=True):
            for name, value in thing.items():
                files.append(path.with_suffix(f".{media.module(name).ENDING}"))
                media.module(name).write(value, files[-1])
        return files
    for thing, path in zip(made, numbered, strict=True):
        media.module(to).write(thing, path)
    if to != "image":
        return numbered
    image.write(contact_sheet.show(made, [f"seed {seed}, {place + 1}" for place in range(len(made))]), out)
    return [out, *numbered]
