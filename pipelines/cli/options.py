"""Options that several verbs share, and the group that answers an unknown verb with the nearest."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmgen.errors import ConfigError, DataError
from pipelines.choices import chosen
from pipelines.terminal import show_table

if TYPE_CHECKING:
    from mmgen.ops.runs.run import Run
    from pipelines.local.containers import Containers

SOURCES = ("text", "image", "sound", "video", "music")
"""What `--from` can be."""

Command = Callable[..., Any]


class Place(click.Path):
    """A folder, or the folder that is the local copy of `s3://bucket/prefix`."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, file_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from mmgen.ops.storage.roots import open_root

        return super().convert(open_root(value) if isinstance(value, str) else value, param, ctx)


class Group(click.Group):
    """A group of verbs that answers an unknown one with the nearest."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            names = self.list_commands(ctx)
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise click.UsageError(f"unknown verb {name!r}; {hint}choose from: {', '.join(names)}", ctx)
        return super().resolve_command(ctx, args)


def recipe_options(command: Command) -> Command:
    """`[RECIPE] --set --root --data`: which run is meant, and where it lives."""
    decorators = (
        click.argument("recipe", required=False),
        click.option(
            "--set", "settings", multiple=True, metavar="NAME=VALUE", help="Override one setting; can repeat."
        ),
        root_option,
        data_option,
    )
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


def init_option(command: Command) -> Command:
    """`--init-from`: a model whose weights are the first ones."""
    return click.option(
        "--init-from",
        "init_from",
        metavar="champion|RECIPE[@DATA]|PATH",
        help="Start from the weights of this model instead of random ones.",
    )(command)


def started(recipe: str | None, settings: tuple[str, ...], init_from: str | None, root: Path) -> tuple[str, list[str]]:
    """The recipe and settings that are meant, the one that names the first weights among them."""
    name, overrides = chosen(recipe, settings)
    if init_from is None:
        return name, list(overrides)
    from mmgen.ops.registry.starting_weights import setting

    return name, [*overrides, setting(root, init_from, name)]


def root_option(command: Command) -> Command:
    """`--root`, else MMGEN_ROOT, else runs/."""
    return click.option(
        "--root",
        type=Place(),
        default="runs",
        show_default=True,
        envvar="MMGEN_ROOT",
        show_envvar=True,
        help="Folder, or s3://bucket/prefix, of everything that runs make.",
    )(command)


def data_option(command: Command) -> Command:
    """`--data`, else data/."""
    return click.option(
        "--data",
        "data_root",
        type=Place(),
        default="data",
        show_default=True,
        help="Folder, or s3://bucket/prefix, of the data sets.",
    )(command)


def images_options(command: Command) -> Command:
    """`--image ROLE=NAME --dev`, else MMGEN_IMAGES: what the tasks run in."""
    named = click.option(
        "--image",
        "images",
        multiple=True,
        metavar="cpu|gpu=NAME@sha256:DIGEST",
        envvar="MMGEN_IMAGES",
        show_envvar=True,
        help="An image by its role; both are needed.",
    )
    dev = click.option("--dev", is_flag=True, help="Allow images without a digest; the run counts as dirty.")
    return named(dev(command))


def runner_options(command: Command) -> Command:
    """`--runner`, and what the one in containers needs."""
    kind = click.Choice(["subprocess", "docker"])
    which = click.option("--runner", type=kind, default="subprocess", show_default=True, help="How tasks are run.")
    further = click.option(
        "--docker",
        "further",
        metavar="JSON",
        default="{}",
        envvar="MMGEN_DOCKER",
        show_envvar=True,
        help="Further arguments of Docker's containers.run.",
    )
    return which(images_options(further(command)))


def containers_of(runner: str, images: tuple[str, ...], dev: bool, further: str) -> Containers | None:
    """What `runner_options` ask for; None for processes of this machine."""
    if runner != "docker":
        return None
    from pipelines.cluster.images import images_of
    from pipelines.local.containers import Containers

    return Containers(images=images_of(images, dev), further=further)


def profile_option(command: Command) -> Command:
    """`--profile`: what the tasks may use of a cluster."""
    from pipelines.cluster.profiles import NAMES

    kind = click.Choice(NAMES)
    return click.option("--profile", type=kind, default=NAMES[0], show_default=True, help="Resources of the tasks.")(
        command
    )


def json_option(command: Command) -> Command:
    """`--json`: the answer as one JSON value on standard output, nothing else there."""
    return click.option("--json", "as_json", is_flag=True, help="Answer in JSON, for machines.")(command)


def promote_option(command: Command) -> Command:
    """`--no-promote`: a better model waits for a person's `mmgen promote`."""
    return click.option(
        "--no-promote",
        "promote",
        flag_value=False,
        default=True,
        help="Leave the promotion to a person, who runs mmgen promote.",
    )(command)


def out_option(command: Command) -> Command:
    """`--out`: where a stage's output is copied to."""
    kind = click.Path(path_type=Path, file_okay=False)
    return click.option("--out", type=kind, required=True, help="Folder to copy the output to.")(command)


def run_stage(
    stage: str,
    recipe: str | None,
    settings: Sequence[str],
    root: Path,
    data_root: Path,
    out: Path,
    other: Path | None = None,
) -> Run:
    """Run `stage` and what it reads, copy its output to `out`, and print where that is.

    With `other`, a data set, the model is judged there too, and `out` gets those scores with the gap to the first ones.
    """
    from mmgen.files import read_json
    from mmgen.ops.runs.run import open_run
    from mmgen.ops.stages.generalisation import elsewhere
    from mmgen.ops.stages.outputs import copy_output
    from mmgen.ops.stages.table import run_up_to
    from mmgen.progress import choose

    opened = open_run(*chosen(recipe, settings), root, data_root)
    progress = choose(None, sys.stderr)
    try:
        made = run_up_to(stage, opened, progress).folder
        if other is not None:
            made = elsewhere(opened, other, progress)
    finally:
        progress.close()
    copy_output(made, out)
    if other is not None:
        show_table(_gaps(read_json(made / "gap.json")))
    click.echo(out)
    return opened


def _gaps(found: dict[str, Any]) -> list[tuple[str, ...]]:
    """Scores on two data sets for a terminal; a gap whose interval excludes zero is marked with a star."""

    def said(value: dict[str, float], sign: str = "") -> str:
        return f"{value['value']:{sign}.3f} [{value['low']:{sign}.3f}, {value['high']:{sign}.3f}]"

    rows = [("score", found["home"], found["there"], "gap (95 %)")]
    for name, row in found["metrics"].items():
        star = " *" if row["gap"]["low"] > 0 or row["gap"]["high"] < 0 else ""
        rows.append((name, said(row["home"]), said(row["there"]), said(row["gap"], "+") + star))
    return rows


def recipe_option(command: Command) -> Command:
    """`--recipe`: whose models are meant; behind an `@` the data set that they learned, where it is not the usual."""
    return click.option(
        "--recipe", metavar="RECIPE[@DATA]", help="Recipe of the model.  [default: the recipe of params.yaml]"
    )(command)


def things_option(command: Command) -> Command:
    """`--from`: things to start from, as `text=WORDS` or `image=FILE`."""
    return click.option(
        "--from",
        "given",
        multiple=True,
        metavar="text=WORDS|image=FILE|sound=FILE|video=FILE|music=FILE",
        help="Input of the model; can repeat.",
    )(command)


def read_things(given: Sequence[str]) -> dict[str, list[Any]]:
    """Things by modality, each read and checked.

    Raises:
        ConfigError: not a modality and what it holds.
        DataError: a file that cannot be read, or is not what it should be.
    """
    from mmgen.modalities import media

    found: dict[str, list[Any]] = {}
    for item in given:
        source, equals, content = item.partition("=")
        if not equals or source not in SOURCES:
            raise ConfigError(
                f'--from {item!r} names no source; write text="red heart", or one of {SOURCES[1:]} and =FILE'
            )
        try:
            data = content.encode() if source == "text" else Path(content).read_bytes()
        except OSError as error:
            raise DataError(f"{source} {content!r} cannot be read: {error.strerror}") from error
        name = "--from text" if source == "text" else content
        found.setdefault(source, []).append(media.module(source).read(data, name))
    return found
