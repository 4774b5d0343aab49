"""Does the program still do the same? For a change that only moves or renames code: record before it and after it.

    python -m benchmarks.same_behaviour record before.json     # about ten minutes of one core
    python -m benchmarks.same_behaviour compare before.json after.json

What is recorded, all with seed 0 on CPU: the sha256 of the weights and of the settings of four small trainings, made by
`mmgen train`; the sha256 of the pipeline compiled for each profile; and what `--help` says of every verb.

What is left out of the comparison, because a move changes it and nothing else does:

- keys of stages. They hold the digest of the code under its path, so a moved file gives another key and each stage runs
  once more. Weights are read from the folder that `mmgen train --out` fills, whose name holds no key.
- in compiled pipelines, where the source of each component is text: lines that import from our packages, and the dotted
  path before a name of ours (`mmgen.`, `components.`). What the components then do is compared.

Only the rest is hashed, so two files are compared by what they hold, without the code that made them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

RUNS = {"emoji": 50, "vae": 20, "gan": 20, "show-and-tell": 20}
"""Recipe -> optimiser steps: two models of pictures and captions, one that draws noise, one with two objectives."""

SETTINGS = ("size=small", "seed=0", "training.device=cpu", "training.threads=1")

OURS = r"(?:mmgen|components|pipelines)"
IMPORT = re.compile(rf"^[ \t]*(?:from {OURS}[.\w]* import (?:\([^)]*\)|[^\n(]*)|import {OURS}[.\w]*)\n?", re.MULTILINE)
DOTTED = re.compile(rf"\b{OURS}\.(?:\w+\.)*(?=\w)")


def weights(data: str) -> dict[str, str]:
    """Train each recipe in a root of its own and hash what it learned."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="mmgen-same-") as folder:
        for recipe, steps in RUNS.items():
            out = Path(folder) / recipe
            command = [sys.executable, "-m", "pipelines.cli", "train", recipe, "--root", str(Path(folder) / "root")]
            command += ["--data", data, "--out", str(out)]
            for setting in (*SETTINGS, f"training.steps={steps}"):
                command += ["--set", setting]
            subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
            for name in ("weights.safetensors", "config.json"):
                found[f"{recipe} {name}"] = hashlib.sha256((out / "model" / name).read_bytes()).hexdigest()
    return found


def without_paths(text: str) -> str:
    """Source or another text without where our modules lie.

    >>> without_paths("from mmgen.here import work\\nwork.perform()\\n")
    'work.perform()\\n'
    >>> without_paths("python -m mmgen.here.work")
    'python -m work'
    """
    return DOTTED.sub("", IMPORT.sub("", text))


def pipelines() -> dict[str, str]:
    """The sha256 of the compiled pipeline of each profile, without where our modules lie."""
    import yaml

    from pipelines.cluster.compile import compiled
    from pipelines.cluster.profiles import NAMES

    found = {}
    for profile in NAMES:
        documents = list(yaml.safe_load_all(compiled(profile=profile)))
        text = json.dumps(_each_text(documents), sort_keys=True)
        found[profile] = hashlib.sha256(text.encode()).hexdigest()
    return found


def _each_text(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _each_text(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_each_text(inner) for inner in value]
    return without_paths(value) if isinstance(value, str) else value


def helps() -> dict[str, str]:
    """What `mmgen VERB --help` prints, for every verb and every verb below it."""
    import click
    from click.testing import CliRunner

    from pipelines.cli.main import cli

    def walk(command: click.Command, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        yield words
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                assert inner is not None
                yield from walk(inner, (*words, name))

    return {
        " ".join(("mmgen", *words)): CliRunner().invoke(cli, [*words, "--help"], terminal_width=100).output
        for words in walk(cli, ())
    }


def differences(before: Mapping[str, Mapping[str, str]], after: Mapping[str, Mapping[str, str]]) -> list[str]:
    """One line for each thing that two records do not agree on.

    >>> differences({"weights": {"vae": "1", "gan": "2"}}, {"weights": {"vae": "1", "gan": "3"}})
    ['weights: gan differs']
    """
    lines = []
    for part in sorted(before.keys() | after.keys()):
        old, new = before.get(part, {}), after.get(part, {})
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                how = "is new" if name not in old else "is gone" if name not in new else "differs"
                lines.append(f"{part}: {name} {how}")
    return lines


def main() -> int:
    """Returns 1 when two records differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    recording = verbs.add_parser("record")
    recording.add_argument("file", type=Path)
    recording.add_argument("--data", default="data", help="folder of the data sets")
    comparing = verbs.add_parser("compare")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    given = parser.parse_args()
    if given.verb == "record":
        record = {"help": helps(), "pipeline": pipelines(), "weights": weights(given.data)}
        given.file.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
        return 0
    before, after = (json.loads(path.read_text()) for path in (given.before, given.after))
    lines = differences(before, after)
    print("\n".join(lines) or f"the same in {sum(len(part) for part in before.values())} things")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
