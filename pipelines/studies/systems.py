"""Run recipes one after the other and write the results: docs/systems.md, its pictures, measured.json.

Each recipe runs in a process of its own, as a user would run it, so that times and memory are its own. What was run
before is found again by its keys and costs nothing.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmgen import recipes
from mmgen.files import read_json, write_bytes, write_json
from mmgen.ops.runs.keys import CODE
from mmgen.ops.runs.run import Run, open_run
from mmgen.ops.stages.outputs import headline_words
from pipelines.studies.ablations import ABLATED, table

MEASURED = CODE / "mmgen" / "recipes" / "measured.json"
PAGE = CODE / "docs" / "systems.md"
PICTURES = CODE / "docs" / "images" / "systems"
SCORES, SECTIONS = 6, 2
"""Scores and pictures of each recipe on the page; the report of the run has all of them."""

REFERENCES = {
    "gan": "Entropy of ten even classes is 2.30 nats. KID and FID are in our judge's features: compare them with the "
    "other recipes here, not with published ones.",
    "emoji": "A diffusers UNet and transfusion-pytorch on the same captions and CPU-seconds: benchmarks/README.md.",
    "vae": "pythae's VAE of the same layers: benchmarks/README.md. A VAE on 60,000 binary digits comes to 86 to 90 "
    "nats (arXiv:1509.00519); this one learns from 3,500.",
    "cyclegan": "A copy of the input is the baseline (`_copy`).",
    "show-and-tell": "transformers' VisionEncoderDecoder of the same size and about the same CPU-seconds on the same "
    "tensors: benchmarks/README.md.",
    "listen": "The target was a character error rate of 0.25.",
    "fusion": "The judge names 0.977 of the real samples right. MultiVae's models on the same tensors: "
    "benchmarks/README.md.",
    "moving": "Repeating the last frame is 1; the target was 0.5.",
    "chorales": "RNN-NADE 5.56, TCN 8.10 nats a frame (arXiv:1206.6392, arXiv:1803.01271), on another split.",
    "translate": "`_copy` hands the source back.",
    "summarise": "`_lead` takes the first words of the description: it is not reached, see the log.",
    "classify": "The most frequent group is 0.59 of the samples (`_constant`).",
    "regress": "Guessing noon is off by 360 minutes.",
    "speak": "The recogniser alone errs by 0.10 on the real clips; the target was 0.25.",
}
"""What to hold a recipe's figures against."""

_ABOUT_ABLATIONS = (
    "*Made by `mmgen ablate`.* Both arms learn for the same steps on the same data and are asked the same prompts. The",
    "interval is over seeds and prompts alike; of few seeds it is rather too narrow. Where it leaves out zero the",
    "difference is bold. The training that a transfer starts from comes on top. For `nll` and `cer` less is better.",
)


def measure(names: Sequence[str], size: str, root: Path, data_root: Path) -> None:
    """Run `names` at `size` and write the results; recipes that were measured before keep their entries.

    Raises:
        RuntimeError: a run ended otherwise than with a verdict of the gate.
    """
    found: dict[str, Any] = read_json(MEASURED) if MEASURED.is_file() else {}
    for name in names:
        settings = [f"size={size}"]
        command = [sys.executable, "-m", "pipelines.cli", "run", name, "--set", settings[0], "--json"]
        done = subprocess.run(
            [*command, "--root", str(root), "--data", str(data_root)], stdout=subprocess.PIPE, check=False, text=True
        )
        if done.returncode not in (0, 30):  # 30: the gate kept the champion
            raise RuntimeError(f"recipe {name!r} ended with {done.returncode}; what it said is above")
        run = open_run(name, settings, root, data_root)
        entry = _entry(run, json.loads(done.stdout), found.get(name, {}).get(size, {}))
        found.setdefault(name, {})[size] = entry
        _copy_pictures(run, name, size)
        write_json(MEASURED, found)
        write_page()


def write_page() -> None:
    """Write docs/systems.md from what was measured."""
    found = [read_json(path) if path.is_file() else {} for path in (MEASURED, ABLATED)]
    write_bytes(PAGE, page(*found).encode())


def page(found: dict[str, Any], ablated: dict[str, Any]) -> str:
    """docs/systems.md: the table of all recipes, what improvements bring, and each recipe with its pictures."""
    lines = [
        "# Systems",
        "",
        "*Made by `make systems`, which runs every recipe and overwrites this page. Scores with 95 % intervals over n",
        "prompts, one seed. Pictures are not selected. Times are of the machine that the table names.*",
        "",
        "| recipe | size | minutes, whole run | training, s | parameters | verdict | first score |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, size, entry in _entries(found):
        first = entry["scores"][0]
        lines.append(
            f"| [{name}](#{name}) | {size} | {entry['minutes']:.1f} | {entry['training_seconds']:.0f} | "
            f"{entry['parameters'] / 1e6:.2f} M | {entry['verdict']} | `{first['name']}` {_score(first)} |"
        )
    if ablated:
        lines += ["", "## Improvements", "", *_ABOUT_ABLATIONS, "", *table(ablated)]
    for name in dict.fromkeys(name for name, _, _ in _entries(found)):
        lines += ["", f"## {name}", "", recipes.about(name).split("\n\n")[0].replace("\n", " "), ""]
        if name in REFERENCES:
            lines += [f"Held against: {REFERENCES[name]}", ""]
        for size, entry in found[name].items():
            lines += [
                *([] if lines[-1] == "" else [""]),
                f"*{size}*, {entry['machine']}:",
                "",
                "| score | value [95 % interval] | n | |",
                "|---|---|---|---|",
            ]
            lines += [
                f"| `{score['name']}` | {_score(score)} | {score['n']:,} | {score['what']} |"
                for score in entry["scores"]
            ]
            lines.append("")
            lines += [
                f"![{name} {size} {path.stem}]({path.relative_to(PAGE.parent)})" for path in _pictures(name, size)
            ]
    return "\n".join(lines) + "\n"


def _entries(found: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """(recipe, size, entry) in the order of the recipes."""
    return [(name, size, entry) for name in recipes.NAMES for size, entry in found.get(name, {}).items()]


def _entry(run: Run, summary: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    training = read_json(run.folder("train") / "training.json")
    fresh = all(stage["state"] == "ran" for stage in summary["stages"].values())
    took = sum(stage["seconds"] for stage in summary["stages"].values()) / 60
    return {
        # A run of which parts were found again says nothing of the time of the whole.
        "minutes": round(took, 2) if fresh else before.get("minutes", round(took, 2)),
        "training_seconds": training["seconds"],
        "parameters": training["parameters"],
        "verdict": summary["gate"]["decision"],
        "machine": f"{_processor()}, {training['cpu_seconds']:.0f} CPU-seconds of training",
        # A list, since their order counts.
        "scores": [
            {"name": name, "what": what, **summary["metrics"][name]} for name, what in headline_words(run)[:SCORES]
        ],
    }


def _processor() -> str:
    import os

    return f"{os.cpu_count()} cores, {platform.machine()}"


def _copy_pictures(run: Run, name: str, size: str) -> None:
    """The first contact sheets of the report."""
    from mmgen.modalities import image

    for old in _pictures(name, size):
        old.unlink()
    sections = read_json(run.folder("evaluate") / "examples.json")["sections"][:SECTIONS]
    for number, section in enumerate(sections):
        path = run.folder("evaluate") / section["sheet"]
        image.write(
            image.read(path.read_bytes(), str(path)), PICTURES / f"{name}-{size}-{number}-{section['name']}.webp"
        )


def _pictures(name: str, size: str) -> list[Path]:
    return sorted(PICTURES.glob(f"{name}-{size}-[0-9]-*.webp"))


def _score(score: dict[str, Any]) -> str:
    return f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"
