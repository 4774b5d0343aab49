"""The result of a run: one JSON object for machines, a screen of text for people."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import Any

import click

from mmgen.errors import TrackingError
from mmgen.files import read_json
from mmgen.ops.runs.run import Run
from mmgen.ops.stages import outputs
from mmgen.progress import clock
from mmgen.recipes import on_own_data
from pipelines.local.run import States
from pipelines.terminal import show_table


def summarise(run: Run, states: States, began: float) -> dict[str, Any]:
    """The object that `mmgen run --json` prints; `began` by `time.monotonic`."""
    verdict = outputs.verdict(run)
    model = outputs.registered(run)
    aliases = _aliases(run, model)
    return {
        "run_key": run.keys.run_key,
        "recipe": run.recipe.name,
        "data_version": run.data_version,
        "seconds": round(time.monotonic() - began, 2),
        "stages": {name: {"state": state, "seconds": took} for name, (state, took) in states.items()},
        "metrics": outputs.scores(run),
        "headline": list(outputs.headline(run)),
        "next": _next(run),
        "gate": {"decision": verdict["decision"], "reasons": verdict["reasons"]},
        "model": {
            "name": model["name"],
            "version": model["version"],
            "alias": aliases[0] if aliases else None,
            "path": str(run.folder("train") / "model"),
        },
        "report": str(run.folder("report") / "report.html"),
        "mlflow": read_json(run.folder("register") / "mlflow.json"),
    }


def show(summary: dict[str, Any]) -> None:
    """Print the summary for a person: headline scores, verdict, version, report, what to type next."""
    click.echo()
    metrics = {name: summary["metrics"][name] for name in summary["headline"]}
    rows = [("score", "value", "95 % interval", "n")]
    rows += [
        (name, _figure(m["value"]), f"{_figure(m['low'])} to {_figure(m['high'])}", str(m["n"]))
        for name, m in metrics.items()
    ]
    show_table(rows)
    click.echo()
    gate, model = summary["gate"], summary["model"]
    alias = f", {model['alias']}" if model["alias"] else ""
    show_table(
        [
            ("verdict", f"{gate['decision']}: {gate['reasons'][0]}"),
            *(("", reason) for reason in gate["reasons"][1:]),
            ("model", f"{model['name']} version {model['version']}{alias}"),
            ("report", summary["report"]),
            ("time", f"{clock(summary['seconds'])}  ({_counts(summary['stages'])})"),
        ]
    )
    click.echo()
    which = "champion" if model["alias"] == "champion" else model["version"]
    extra = "" if which == "champion" else f" --model {which}"
    click.echo(f"next     {summary['next']}{extra}")
    click.echo("         mmgen ui")


def _next(run: Run) -> str:
    """A command that uses the model."""
    sources, target, words = outputs.first_pair(run)
    given = {"text": shlex.quote(words), "nothing": ""}
    parts = [f"--from {source}={given.get(source, 'FILE')}" for source in sources if source != "nothing"]
    ending = {"image": "png", "sound": "wav", "video": "webp", "music": "abc", "all": "png"}
    parts += [f"--to {target}"] + ([f"--out made.{ending[target]}"] if target in ending else [])
    recipe = run.recipe.name if on_own_data(run.recipe) else f"{run.recipe.name}@{run.recipe.data.name}"
    return " ".join(["mmgen generate", "--recipe", recipe, *parts])


def _aliases(run: Run, model: dict[str, Any]) -> list[str]:
    """Names that the version has now; as it was registered, when MLflow cannot be asked."""
    from mmgen.ops.registry.registry import history

    try:
        versions = {version.version: version for version in history(run.root, model["name"])}
    except TrackingError as error:
        print(f"mmgen: warning: {error}; the alias shown is the one at registration", file=sys.stderr)
        return list(model["aliases"])
    return list(versions[model["version"]].aliases) if model["version"] in versions else []


def _figure(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.1f}"


def _counts(stages: dict[str, dict[str, Any]]) -> str:
    states = [stage["state"] for stage in stages.values()]
    return ", ".join(f"{states.count(state)} {state}" for state in ("ran", "cached") if state in states)


def write_flat(run: Run, path: Path) -> None:
    """Write every score as `{name: value}`: what `dvc metrics` compares."""
    from mmgen.files import write_json

    write_json(path, {name: score["value"] for name, score in outputs.scores(run).items()})


def write_curves(run: Run, path: Path) -> None:
    """Write the training curves as a JSON list of rows: what `dvc plots` draws."""
    import json

    from mmgen.files import write_json

    lines = (run.folder("train") / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    write_json(path, [json.loads(line) for line in lines])
