"""The report stage: everything about a run on one page that a person reads before trusting the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmgen.data.changes.shift_page import shift_section
from mmgen.data.dataset import load
from mmgen.evaluation.report.curves import chart, curves
from mmgen.evaluation.report.forest_plot import forest
from mmgen.evaluation.report.tiles import section
from mmgen.files import read_json, write_bytes
from mmgen.page import page, picture, safe
from mmgen.recipes import Recipe

_SCORES = (
    "<h2>Scores</h2><p class=soft>With 95 % intervals over the prompts; "
    "whatever judges them learned from things that no generator sees.</p>"
)
HEAD = 3
"""Scores beside the verdict."""
_BADGE = {"promote": "", "keep": " bad", "inconclusive": " open"}


def write_report(recipe: Recipe, dataset: Path, folders: dict[str, Path], out: Path, facts: dict[str, Any]) -> None:
    """Write `report.html`.

    Args:
        recipe: the run.
        dataset: folder of its data set.
        folders: sealed folder of every stage before this one; `champion` holds the evaluation of the one it met.
        out: empty folder.
        facts: lineage to print, such as run key and git commit; `drift` is how far the data are from the champion's.
    """
    metrics = read_json(folders["evaluate"] / "metrics.json")
    examples = read_json(folders["evaluate"] / "examples.json")
    verdict = read_json(folders["gate"] / "verdict.json")
    model = read_json(folders["register"] / "model.json")
    training = read_json(folders["train"] / "training.json")
    champion = read_json(folders["champion"] / "metrics.json") if "champion" in folders else {}
    body = [
        f"<h1>{safe(recipe.name)}: {safe(model['name'])} version {safe(model['version'])}</h1>",
        f"<p class=soft>run <code>{safe(facts['run_key'])}</code></p>",
        _head(verdict, metrics, examples["headline"], training),
        *(section(found, folders["evaluate"]) for found in examples["sections"]),
        _SCORES,
        _scores(metrics, champion),
        _groups(folders["evaluate"]),
        "<h2>Verdict of the gate</h2>",
        _verdict(verdict),
        "<h2>Training</h2>",
        _training(folders["train"], training),
        "<h2>Data</h2>",
        _data(dataset, folders["validate"]),
        shift_section(facts["drift"]),
        "<h2>Lineage</h2>",
        _lineage(facts, model, folders["register"]),
    ]
    write_bytes(out / "report.html", page(f"{recipe.name} {facts['run_key']}", body).encode())


def _head(verdict: dict[str, Any], metrics: dict[str, Any], headline: list[list[str]], training: dict[str, Any]) -> str:
    cells = [
        (verdict["decision"], "verdict of the gate", " class=said"),
        *((f"{metrics[name]['value']:.3g}", what, "") for name, what in headline[:HEAD]),
        (f"{training['seconds'] / 60:.1f} min", f"training, {training['parameters'] / 1e6:.1f} M parameters", ""),
    ]
    inner = "".join(
        f"<div><b{mark}>{safe(value)}</b><span class=soft>{safe(what)}</span></div>" for value, what, mark in cells
    )
    return f'<div class="card verdict{_BADGE[verdict["decision"]]}">{inner}</div>'


def _scores(metrics: dict[str, Any], champion: dict[str, Any]) -> str:
    head = "<tr><th>metric</th><th class=n>value</th><th class=n>95 % interval</th><th class=n>n</th>"
    head += "<th class=n>champion</th></tr>" if champion else "</tr>"
    lines = []
    for name, metric in sorted(metrics.items()):
        cells = [f"{metric['value']:.3f}", f"{metric['low']:.3f} to {metric['high']:.3f}", f"{metric['n']:,}"]
        if champion:
            cells.append(f"{champion[name]['value']:.3f}" if name in champion else "")
        lines.append(
            f"<tr><td><code>{safe(name)}</code></td>" + "".join(f"<td class=n>{cell}</td>" for cell in cells) + "</tr>"
        )
    return f"<div class=card><table>{head}{''.join(lines)}</table></div>"


def _groups(evaluation: Path) -> str:
    """Scores of each group of samples: a row a score, a column a group."""
    found = read_json(evaluation / "slices.json")
    names = sorted({name for groups in found.values() for name in groups})
    if not names:
        return ""
    head = "<tr><th>metric</th>" + "".join(f"<th class=n>{safe(name)}</th>" for name in names) + "</tr>"
    lines = []
    for metric, groups in sorted(found.items()):
        cells = [
            f"{one['value']:.3f}<br><span class=soft>{one['low']:.3f} to {one['high']:.3f}, n {one['n']}</span>"
            if (one := groups.get(name))
            else ""
            for name in names
        ]
        row = "".join(f"<td class=n>{cell}</td>" for cell in cells)
        lines.append(f"<tr><td><code>{safe(metric)}</code></td>{row}</tr>")
    about = "<p class=soft>The same by group of samples; groups with too few of them are left out.</p>"
    return f"<h3>By group</h3>{about}<div class=card><table>{head}{''.join(lines)}</table></div>"


def _verdict(verdict: dict[str, Any]) -> str:
    reasons = "".join(f"<p>{safe(reason)}</p>" for reason in verdict["reasons"])
    columns = ("metric", "rule", "challenger", "champion", "difference", "low", "high", "passed")
    lines = []
    for row in verdict["table"]:
        cells = []
        for column in columns:
            value = row.get(column)
            if column == "passed":
                cells.append(f"<td class='mark {'ok' if value else 'no'}'>{'holds' if value else 'fails'}</td>")
            elif isinstance(value, float):
                cells.append(f"<td class=n>{value:.3f}</td>")
            else:
                cells.append(f"<td>{safe('' if value is None else value)}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    words = ("metric", "rule", "passed")
    head = "".join(
        f"<th{'' if name in words else ' class=n'}>{'' if name == 'passed' else name}</th>" for name in columns
    )
    drawn = forest(verdict["table"])
    return f"<div class=card>{reasons}{drawn}<table><tr>{head}</tr>{''.join(lines)}</table></div>"


def _training(folder: Path, training: dict[str, Any]) -> str:
    names = [name for name in curves(folder / "metrics.jsonl") if name.startswith("loss_")]
    charts = "".join(
        f"<div class=card>{chart(folder / 'metrics.jsonl', name, 'loss: ' + name.removeprefix('loss_'))}</div>"
        for name in names
    )
    sheets = sorted((folder / "samples").glob("step-*.png"))
    shown = [sheets[0], sheets[-1]] if len(sheets) > 1 else sheets
    grids = "".join(
        f"<div class=card><p class=soft>step {int(sheet.stem.split('-')[1]):,}</p>"
        f"{picture(sheet.read_bytes(), sheet.stem)}</div>"
        for sheet in shown
    )
    facts = (
        f"<p class=soft>{training['steps']:,} steps on {training['samples']:,} samples in {training['seconds']:.0f} s "
        f"({training['cpu_seconds']:.0f} CPU-seconds), peak memory {training['peak_memory_bytes'] / 2**30:.1f} GiB</p>"
    )
    return f"{facts}<div class=two>{charts}</div>{grids}"


def _data(dataset: Path, validation: Path) -> str:
    card = load(dataset).card
    found = read_json(validation / "validation.json")
    splits = ", ".join(f"{name} {card.count(name):,}" for name in card.splits)
    credit_lines = "".join(
        f"<p>{safe(part['what'])}: {safe(part['licence'])}, {safe(part['credit'])}</p>" for part in card.licences
    )
    checks = f"{len(found['expectations'])} expectations hold, {len(found['quarantined'])} samples set aside"
    return f"<div class=card><p><b>{safe(card.title)}</b></p><p>{safe(splits)}</p><p>{checks}</p>{credit_lines}</div>"


def _lineage(facts: dict[str, Any], model: dict[str, Any], register: Path) -> str:
    tracked = read_json(register / "mlflow.json")
    rows = {
        "run key": facts["run_key"],
        "git commit": facts["git_commit"] + (" (changed since)" if facts["git_dirty"] else ""),
        "data version": facts["data_version"],
        "Kubeflow run": facts["kfp_run"] or "local",
        "MLflow run": tracked["run_id"],
        "cost": facts["cost"],
        "model": f"{model['name']} version {model['version']} ({', '.join(model['aliases']) or 'no alias'})",
    }
    lines = "".join(f"<tr><td>{name}</td><td><code>{safe(value)}</code></td></tr>" for name, value in rows.items())
    return f"<div class=card><table>{lines}</table></div>"
