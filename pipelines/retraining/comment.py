"""The result of a retraining, as a comment for a pull request: metrics, the gate's table, lineage, where to look.

GitHub shows no picture that is not on a server of its own or of the reader's: data addresses are stripped from
comments. So pictures are files beside the comment (`samples.png`, `report.html` or `validation.html`), which CI keeps,
and the comment links to where it does.

Keys and captions of bad samples are other people's text: they stand in code spans, on one line, and can neither mention
anybody nor become Markdown or HTML.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from mmgen.errors import ConfigError, TrackingError
from mmgen.files import read_json, write_bytes, write_json
from mmgen.ops.registry.lineage import lineage
from mmgen.ops.runs.run import Run
from mmgen.progress import clock
from pipelines.retraining.retrain import Outcome

LONGEST = 60_000
"""Characters; GitHub refuses a comment of more than 65,536."""
EXPECTATIONS, ROWS, CHARACTERS = 10, 5, 160
"""Failed expectations that are shown, bad samples of each, characters of one."""


def write(outcome: Outcome, out: Path, files_url: str) -> Path:
    """Write `comment.md`, `retrain.json` and the files to look at into `out`; return the comment.

    Args:
        files_url: where a reader finds what lies in `out`; empty for nowhere.

    Raises:
        StorageError: the disk refuses.
    """
    files = _files(outcome)
    for name, source in files.items():
        write_bytes(out / name, source.read_bytes())
    text = "\n".join(_lines(outcome, sorted(files), files_url)) + "\n"
    write_bytes(out / "comment.md", text[:LONGEST].encode())
    write_json(out / "retrain.json", facts(outcome))
    return out / "comment.md"


def facts(outcome: Outcome) -> dict[str, Any]:
    """The outcome for machines."""
    run = outcome.run
    return {
        "recipe": outcome.recipe,
        "state": outcome.state,
        "exit_code": outcome.exit_code,
        "seconds": outcome.seconds,
        "run_key": run.keys.run_key if run else None,
        "data_version": run.data_version if run else None,
        "git_commit": run.git_commit if run else None,
        "decision": outcome.decision,
        "awaits_approval": outcome.awaits,
        "model": outcome.model,
        "problem": outcome.problem,
        "link": outcome.link,
    }


def _files(outcome: Outcome) -> dict[str, Path]:
    """What a reader wants to look at, by the name it gets."""
    run = outcome.run
    if run is None:
        return {}
    found = {}
    if outcome.summary is not None:
        found["report.html"] = run.folder("report") / "report.html"
        sections = read_json(run.folder("evaluate") / "examples.json")["sections"]
        for sheet in [run.folder("evaluate") / section["sheet"] for section in sections if section.get("sheet")][:1]:
            found[f"samples{sheet.suffix}"] = sheet
    elif outcome.broken:
        found["validation.html"] = run.unfinished("validate") / "validation.html"
    return {name: path for name, path in found.items() if path.is_file()}


def _lines(outcome: Outcome, files: list[str], files_url: str) -> list[str]:
    lines = [f"## Retraining of `{outcome.recipe}`: {_title(outcome)}", ""]
    if outcome.state == "nothing":
        lines += ["Nothing that matters has changed: every stage of this run is done already. Nothing ran.", ""]
    if outcome.problem:
        lines += [_code(outcome.problem, 3 * CHARACTERS), ""]
    if outcome.state == "refused":
        lines += ["Nothing was trained and the champion is untouched.", ""]
    for item in outcome.broken[:EXPECTATIONS]:
        lines += [f"- **{item['name']}**: {item['says']}; {item['unexpected']} do not:"]
        lines += [
            f"  - {_code(row)}: {_code(reason)}"
            for row, reason in list(zip(item["rows"], item["reasons"], strict=True))[:ROWS]
        ]
    lines += [""] if outcome.broken else []
    if outcome.awaits:
        lines += ["The gate would promote it. The champion changes when a person approves that on the main branch.", ""]
    if outcome.summary is not None and outcome.run is not None:
        lines += [*_metrics(outcome.summary), "", *_verdict(outcome.run), ""]
    if outcome.run is not None:
        lines += [*_lineage(outcome.run, outcome.model), ""]
    if files:
        names = ", ".join(f"`{name}`" for name in files)
        lines.append(f"To look at: {names}, [kept by this job]({files_url})." if files_url else f"To look at: {names}.")
    if outcome.link:
        lines.append(f"Run on the cluster: {outcome.link}")
    return [*lines, f"Took {clock(outcome.seconds)}."]


def _title(outcome: Outcome) -> str:
    if outcome.state == "refused":
        return "stopped, the data are refused"
    if outcome.state == "failed":
        return "failed"
    return "promote, awaiting approval" if outcome.awaits else outcome.decision or "done, see the run"


def _metrics(summary: dict[str, Any]) -> list[str]:
    rows = ["| score | value | 95 % interval | n |", "|---|---:|---:|---:|"]
    for name in summary["headline"]:
        score = summary["metrics"][name]
        rows.append(f"| {name} | {score['value']:.3f} | {score['low']:.3f} to {score['high']:.3f} | {score['n']:.0f} |")
    return rows


def _verdict(run: Run) -> list[str]:
    """The gate's own page, a heading lower."""
    page = (run.folder("gate") / "verdict.md").read_text(encoding="utf-8")
    return [f"#{line}" if line.startswith("#") else line for line in page.splitlines()]


def _lineage(run: Run, model: dict[str, Any] | None) -> list[str]:
    known = {"run key": run.keys.run_key, "data version": run.data_version, "git commit": run.git_commit}
    if run.git_dirty:
        known["git commit"] += " with changes"
    if model is not None:
        known["model"] = f"{model['name']}/{model['version']}"
        with contextlib.suppress(TrackingError, ConfigError):
            found = lineage(run.root, known["model"])
            known |= {"MLflow run": found.mlflow_run_id, "Kubeflow run": found.kfp_run_id}
    return ["| lineage | |", "|---|---|", *(f"| {name} | `{value}` |" for name, value in known.items() if value)]


def _code(text: str, longest: int = CHARACTERS) -> str:
    """Untrusted text as one harmless code span."""
    line = "".join(c if c.isprintable() else " " for c in " ".join(text.split())).replace("`", "'")
    return f"`{line[:longest]}`" if line.strip() else "` `"
