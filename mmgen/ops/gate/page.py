"""The gate's verdict for people: Markdown for a pull request, HTML with a picture for Kubeflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmgen.evaluation.report.forest_plot import forest
from mmgen.page import page, safe

_HOW = (
    "Differences are taken prompt by prompt; positive is better. One `better by` row is enough for a promotion, every "
    "other row must hold. Power is the chance of a round like this to show a model that is just as good (`no worse`) "
    "or better by the declared effect (`better by`); enough is the number of prompts at which it would be 0.8."
)
_BADGE = {"promote": "", "keep": " bad"}
_HEAD = ("metric", "rule", "challenger", "champion", "difference", "interval", "n", "power", "enough", "holds")


def markdown(verdict: Mapping[str, Any]) -> str:
    """The verdict as Markdown."""
    lines = [f"## Gate: {verdict['decision']}", "", _against(verdict), ""]
    lines += [f"- {reason}" for reason in verdict["reasons"]]
    lines += ["", f"| {' | '.join(_HEAD)} |", "|---|---|---:|---:|---:|---:|---:|---:|---:|---|"]
    for row in verdict["table"]:
        cells = [cell.replace("|", "\\|") for cell in _cells(row)]
        lines.append(f"| {' | '.join([*cells, 'yes' if row['passed'] else '**no**'])} |")
    return "\n".join([*lines, "", _HOW]) + "\n"


def html(verdict: Mapping[str, Any]) -> str:
    """The verdict as one page that needs nothing else."""
    decision = verdict["decision"]
    reasons = "".join(f"<p>{safe(line)}</p>" for line in (_against(verdict), *verdict["reasons"]))
    head = "".join(f"<th{'' if name in ('metric', 'rule', 'holds') else ' class=n'}>{name}</th>" for name in _HEAD)
    lines = []
    for row in verdict["table"]:
        cells = [f"<td{' class=n' if place > 1 else ''}>{safe(cell)}</td>" for place, cell in enumerate(_cells(row))]
        mark = f"<td class='mark {'ok' if row['passed'] else 'no'}'>{'yes' if row['passed'] else 'no'}</td>"
        lines.append(f"<tr>{''.join(cells)}{mark}</tr>")
    drawn = forest(verdict["table"])
    body = [
        "<h1>Verdict of the gate</h1>",
        f'<div class="card verdict{_BADGE[decision]}"><div><b class=said>{safe(decision)}</b>{reasons}</div></div>',
        f"<h2>Intervals and bounds</h2><div class=card>{drawn}</div>" if drawn else "",
        f"<h2>Rules</h2><div class=card><table><tr>{head}</tr>{''.join(lines)}</table></div>",
        f"<p class=soft>{safe(_HOW)}</p>",
    ]
    return page("Verdict of the gate", body)


def _against(verdict: Mapping[str, Any]) -> str:
    if not verdict["champion"]:
        return "Against: no champion yet."
    rounds = verdict["rounds"]
    return f"Against: champion version {verdict['champion']}" + (f", in {rounds} rounds." if rounds > 1 else ".")


def _cells(row: Mapping[str, Any]) -> list[str]:
    """All columns but the last."""

    def number(name: str, form: str) -> str:
        return "" if row[name] is None else format(row[name], form)

    interval = "" if row["low"] is None else f"{row['low']:+.4f} to {row['high']:+.4f}"
    return [
        row["metric"],
        row["rule"],
        number("challenger", ".4f"),
        number("champion", ".4f"),
        number("difference", "+.4f"),
        interval,
        number("n", ",d"),
        number("power", ".2f"),
        number("enough", ",d"),
    ]
