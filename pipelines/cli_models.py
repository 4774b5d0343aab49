"""Verbs on models that exist: generate, compare, promote, rollback, history, lineage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mmgen.errors import ConfigError, DataError
from pipelines.options import answer, chosen, json_option, root_option, show_table

recipe_option = click.option("--recipe", help="Whose models are meant.  [default: the recipe of params.yaml]")


@click.command()
@click.option("--from", "given", required=True, metavar="text=WORDS|image=FILE", help="What to start from.")
@click.option("--to", required=True, metavar="image|text", help="What to make.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File to write; text is also printed.")
@click.option("-n", "count", type=click.IntRange(1, 64), default=1, show_default=True, help="How many.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Same seed, same bytes.")
@click.option("--model", default="champion", show_default=True, metavar="champion|VERSION|PATH", help="Which model.")
@recipe_option
@root_option
@json_option
def generate(
    given: str,
    to: str,
    out: Path | None,
    count: int,
    seed: int,
    model: str,
    recipe: str | None,
    root: Path,
    as_json: bool,
) -> None:
    """Make a picture from words, or words from a picture.

    With -n above 1 the file is a grid and the single pictures lie beside it, numbered.

    \b
    mmgen generate --from text="red heart" --to image --out heart.png
    mmgen generate --from image=heart.png --to text
    """
    source, equals, content = given.partition("=")
    if not equals or source not in ("text", "image"):
        raise ConfigError(f'--from {given!r} names no source; write text="red heart" or image=heart.png')
    if to == "image" and out is None:
        raise click.UsageError("--to image needs --out FILE", click.get_current_context())
    from mmgen.generate import Generator
    from mmgen.modalities import image, text

    generator = Generator.load(_model_folder(model, recipe, root))
    start: Any = (
        text.read(content.encode(), "--from text") if source == "text" else image.read(_bytes(content), content)
    )
    if source == "text":
        for word, near in generator.unknown_words(start).items():
            hint = f"; the nearest that it knows is {near!r}" if near else ""
            click.echo(f"mmgen: the model has never met the word {word!r}{hint}", err=True)
    made = generator.generate(**{source: start}, to=to, n=count, seed=seed)
    files: list[str] = []
    if to == "image" and out is not None:
        singles = [out] if count == 1 else [out.with_stem(f"{out.stem}-{index + 1}") for index in range(count)]
        for array, path in zip(made, singles, strict=True):
            image.write(array, path)
        if count > 1:
            image.write(image.show(made, [f"seed {seed}, {index + 1}" for index in range(count)]), out)
        files = [str(path) for path in ([out] if count == 1 else [out, *singles])]
    elif out is not None:
        text.write("\n".join(made), out)
        files = [str(out)]
    if as_json:
        answer({"files": files, "texts": made if to == "text" else []})
    else:
        click.echo("\n".join(made if to == "text" else files[:1]))


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

    _tell(registry.promote(root, _model_name(recipe), version), as_json)


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

    _tell(registry.rollback(root, _model_name(recipe)), as_json)


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

    versions = registry.history(root, _model_name(recipe))
    if as_json:
        answer([_plain(version) for version in versions])
    elif not versions:
        click.echo(f"{_model_name(recipe)} has no versions yet; run: mmgen run")
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


def _model_name(recipe: str | None) -> str:
    from mmgen.ops.registry import model_name
    from mmgen.recipes import get

    return model_name(get(chosen(recipe, ())[0]).name)


def _model_folder(model: str, recipe: str | None, root: Path) -> Path:
    """Folder of the model that was asked for: a path as it is, else from the registry."""
    from mmgen.ops import registry

    if Path(model).is_dir():
        inner = Path(model) / "model"  # the output of `mmgen train` has the model inside
        return inner if inner.is_dir() else Path(model)
    name = _model_name(recipe)
    if model != "champion":
        return registry.fetch(root, name, model)
    found = registry.champion(root, name)
    if found is None:
        raise ConfigError(f"{name} has no champion yet; run: mmgen run, or name a version with --model")
    return found[1]


def _bytes(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"picture {path!r} cannot be read: {error.strerror}") from error


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
