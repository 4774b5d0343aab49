"""Verb `inspect`: one page that looks into a model."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.choices import model_folder
from pipelines.cli.options import data_option, json_option, recipe_option, root_option, things_option
from pipelines.terminal import answer


@click.command()
@things_option
@click.option("--model", default="champion", show_default=True, metavar="champion|VERSION|PATH", help="Model to use.")
@recipe_option
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the noise.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default="inspect.html",
    show_default=True,
    help="Page to write, without external content.",
)
@data_option
@root_option
@json_option
def inspect(
    given: tuple[str, ...],
    model: str,
    recipe: str | None,
    seed: int,
    out: Path,
    data_root: Path,
    root: Path,
    as_json: bool,
) -> None:
    """Show what happens inside a model.

    The page has the output for each input, attention for each word, pixels and words that matter, interpolations,
    traversals of latent numbers, the nearest training pictures, and the worst failures of each group, as far as the
    model family supports them. Without --from it uses a few held-out prompts.

    \b
    mmgen inspect --from text="red heart" --from text="blue heart"
    mmgen inspect --recipe show-and-tell --from image=heart.png --out heart.html
    mmgen inspect --recipe vae --model 2
    """
    from mmgen.files import write_bytes
    from mmgen.inspection import inspect as inspection
    from pipelines.cli.options import read_things
    from pipelines.studies.trained import evaluation_of, recipe_of

    folder = model_folder(model, recipe, root)
    made_by = recipe_of(folder, recipe)
    evaluation, judge = evaluation_of(folder, root)
    page, missing = inspection.inspect(
        folder, made_by, data_root / made_by.data.name, evaluation, judge, read_things(given), seed
    )
    write_bytes(out, page.encode())
    if as_json:
        answer({"page": str(out), "missing": missing})
        return
    for name, why in missing.items():
        click.echo(f"no {name}: {why}")
    click.echo(out)
