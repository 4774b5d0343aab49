"""The gate: may the new model take the champion's place?

Rules are data (`gates.yaml`), the verdict is a file that people read. Champion and challenger were scored on
the same prompts with the same noise, so their difference is taken prompt by prompt (paired bootstrap), with
Bonferroni's correction over the metrics. Whatever is missing, not finite or not comparable counts against the
challenger: the gate fails closed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mmgen.errors import ConfigError, StorageError, unknown
from mmgen.evaluation.config import TASKS
from mmgen.files import open_sealed, read_json, write_bytes, write_json
from mmgen.recipes import NAMES, Recipe, on_own_data

Decision = Literal["promote", "keep", "inconclusive"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """What is asked of one metric."""

    metric: str
    higher: bool
    """Whether higher is better."""
    floor: float | None = None
    """Worst value of any champion."""
    margin: float | None = None
    """Largest tolerated loss against the champion."""
    gain: float | None = None
    """Smallest improvement that is worth a new champion; None for a metric that cannot win by itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """The rules for one recipe."""

    level: float
    resamples: int
    seed: int
    metrics: tuple[Rule, ...]


@dataclass(kw_only=True, slots=True)
class _Findings:
    """What the checks have found so far."""

    table: list[dict[str, Any]] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    """Why the champion stays."""
    doubts: list[str] = field(default_factory=list)
    """Why the scores do not settle it."""
    wins: list[str] = field(default_factory=list)
    """Why the challenger is better."""


def decide(
    challenger: Path,
    champion: Path | None,
    champion_version: str | None,
    asked: Rules,
    out: Path,
    *,
    unscored: str = "",
) -> None:
    """Write `verdict.json` and `verdict.md` into `out`.

    Args:
        challenger: sealed output of stage `evaluate`.
        champion: the same for the champion, scored on this run's prompts; None when there is no champion.
        champion_version: its version in the registry, for the reader.
        asked: the rules that hold for it.
        unscored: why the champion could not be scored on this run's prompts; it then stays.

    Raises:
        StorageError: the challenger's folder is not whole.
    """
    seal = open_sealed(challenger)
    found = _Findings()
    _check_floors(asked, _mapping(read_json(challenger / "metrics.json")), found)
    if unscored:
        found.refusals.append(f"champion {champion_version} cannot be scored on these prompts: {unscored}")
    if champion is not None:
        try:
            _check_comparable(seal, open_sealed(champion))
            new, old = _scores(challenger, asked), _scores(champion, asked)
        except StorageError as error:
            found.refusals.append(f"champion {champion_version} and challenger cannot be compared: {error}")
        else:
            _compare(asked, new, old, found)
    decision: Decision
    if found.refusals:
        decision, reasons = "keep", found.refusals
    elif champion is None:
        decision, reasons = "promote", ["there is no champion yet and every floor holds"]
    elif found.wins and not found.doubts:
        decision, reasons = "promote", found.wins
    else:
        decision, reasons = "inconclusive", found.doubts or ["no primary metric is better by its gain"]
    verdict = {"decision": decision, "reasons": reasons, "champion": champion_version, "table": found.table}
    write_json(out / "verdict.json", verdict)
    write_bytes(out / "verdict.md", _page(verdict).encode())


def section(recipe: Recipe) -> str:
    """The section of `gates.yaml` that holds: the recipe's, or its task's where the data are not the recipe's own."""
    return recipe.name if on_own_data(recipe) else recipe.evaluation.task


def read_rules(path: Path, name: str) -> Rules:
    """The rules of section `name` (a recipe or a task), laid over those of section `default`.

    Raises:
        ConfigError: missing, not YAML, an unknown or missing field, a value of the wrong kind.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_bytes())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read the gate's rules {str(path)!r}: {' '.join(str(error).split())}") from error
    sections = _section(content, ("default", *NAMES, *TASKS), path.name)
    default = _section(sections.get("default"), ("level", "resamples", "seed", "metrics"), f"{path.name} default")
    own = _section(
        sections.get(name, {"metrics": {}}), ("level", "resamples", "seed", "metrics"), f"{path.name} {name}"
    )
    merged = {**default, **own}
    if missing := {"level", "resamples", "seed"} - merged.keys():
        raise ConfigError(f"{path.name}: section 'default' has no {min(missing)!r}")
    metrics = {**_fields(default.get("metrics"), path.name), **_fields(own.get("metrics"), path.name)}
    rules = Rules(
        level=_value(merged["level"], f"{path.name} level", low=0.5, high=0.9999),
        resamples=int(_value(merged["resamples"], f"{path.name} resamples", low=1000, high=1e6)),
        seed=int(_value(merged["seed"], f"{path.name} seed", low=0, high=2**31)),
        metrics=tuple(_rule(name, fields, f"{path.name} {name}") for name, fields in metrics.items()),
    )
    if not rules.metrics:
        raise ConfigError(f"{path.name} has no metric in section {name!r}; a gate without rules lets all pass")
    return rules


def _rule(name: str, fields: Any, where: str) -> Rule:
    known = _section(fields, ("direction", "floor", "margin", "gain"), where)
    direction = known.get("direction")
    if direction not in ("higher", "lower"):
        raise ConfigError(f"{where}: direction is {direction!r}; choose higher or lower")
    if not known.keys() & {"floor", "margin"}:
        raise ConfigError(f"{where}: asks nothing; give it a floor or a margin")
    if "gain" in known and "margin" not in known:
        raise ConfigError(f"{where}: gain needs a margin beside it")
    return Rule(
        metric=name,
        higher=direction == "higher",
        floor=_value(known["floor"], f"{where} floor", low=-1e9, high=1e9) if "floor" in known else None,
        margin=_value(known["margin"], f"{where} margin", low=0, high=1e9) if "margin" in known else None,
        gain=_value(known["gain"], f"{where} gain", low=0, high=1e9) if "gain" in known else None,
    )


def _section(content: Any, choices: tuple[str, ...], where: str) -> dict[str, Any]:
    for name in _fields(content, where):
        if name not in choices:
            raise ConfigError(f"{where}: {unknown('field', name, choices)}")
    return _fields(content, where)


def _fields(content: Any, where: str) -> dict[str, Any]:
    if content is None:  # a section with nothing but comments
        return {}
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise ConfigError(f"{where}: expected named fields, got {content!r}")
    return content


def _value(value: Any, where: str, *, low: float, high: float) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not low <= value <= high:  # a NaN is not within any bounds
        raise ConfigError(f"{where} is {value!r}; expected a number from {low:g} to {high:g}")
    return float(value)


def _mapping(content: Any) -> dict[str, Any]:
    return content if isinstance(content, dict) else {}


def _number(value: Any) -> float | None:
    """`value` as a finite number, else None."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return None
    return float(value)


def _check_floors(rules: Rules, metrics: dict[str, Any], found: _Findings) -> None:
    """What needs no champion: every metric of the rules is there, finite and not below its floor."""
    for rule in rules.metrics:
        value = _number(_mapping(metrics.get(rule.metric)).get("value"))
        if value is None:
            found.refusals.append(f"{rule.metric} is missing or not a finite number")
        if rule.floor is None:
            continue
        passed = value is not None and (value >= rule.floor if rule.higher else value <= rule.floor)
        words = f"at {'least' if rule.higher else 'most'} {rule.floor:g}"
        found.table.append(_row(rule.metric, words, passed, challenger=value))
        if value is not None and not passed:
            found.refusals.append(f"{rule.metric} is {value:.4g}, must be {words}")


def _check_comparable(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Both were scored by one judge with one code on one data set: only the trained model differs.

    Raises:
        StorageError: they were not, or the seal does not say.
    """
    parts = [_mapping(seal.get("parts")) for seal in (ours, theirs)]
    same = [{**part, "inputs": {**_mapping(part.get("inputs")), "train": ""}} for part in parts]
    if not all(parts) or same[0] != same[1]:
        raise StorageError("they were scored on different data, by different judges or with different settings")


def _scores(folder: Path, rules: Rules) -> dict[str, list[float]]:
    """Scores per prompt of the metrics with a margin.

    Raises:
        StorageError: one is missing or holds something else than finite numbers.
    """
    content = _mapping(read_json(folder / "scores.json"))
    found = {}
    for rule in rules.metrics:
        if rule.margin is None:
            continue
        scores = content.get(rule.metric)
        if not isinstance(scores, list) or not scores:
            raise StorageError(f"{str(folder / 'scores.json')!r} has no scores for {rule.metric}")
        if any(_number(score) is None for score in scores):
            raise StorageError(f"{str(folder / 'scores.json')!r} has a score of {rule.metric} that is not finite")
        found[rule.metric] = scores
    return found


def _compare(rules: Rules, new: dict[str, list[float]], old: dict[str, list[float]], found: _Findings) -> None:
    """Judge the paired differences; better is always positive."""
    import numpy as np

    from mmgen.evaluation.bootstrap import difference_interval

    level = 1 - (1 - rules.level) / max(1, len(new))
    for rule in rules.metrics:
        if rule.margin is None:
            continue
        ours, theirs = new[rule.metric], old[rule.metric]
        if len(ours) != len(theirs):
            found.refusals.append(f"{rule.metric} has {len(ours)} prompts, {len(theirs)} for the champion")
            continue
        first, second = (ours, theirs) if rule.higher else (theirs, ours)
        rng = np.random.default_rng(rules.seed)
        gain, low, high, _ = difference_interval(first, second, rng, resamples=rules.resamples, level=level)
        means = {"challenger": sum(ours) / len(ours), "champion": sum(theirs) / len(theirs)}
        numbers = {**means, "difference": gain, "low": low, "high": high}
        said = f"{rule.metric}: {gain:+.4f} ({low:+.4f} to {high:+.4f})"
        found.table.append(_row(rule.metric, f"no worse than -{rule.margin:g}", low >= -rule.margin, **numbers))
        if gain < -rule.margin and high < 0:
            found.refusals.append(f"{said} is worse than the margin of {rule.margin:g}")
        elif low < -rule.margin:
            found.doubts.append(f"{said} may be worse than the margin of {rule.margin:g}")
        if rule.gain is not None:
            better = gain >= rule.gain and low > 0
            found.table.append(_row(rule.metric, f"better by {rule.gain:g}", better, **numbers))
            if better:
                found.wins.append(f"{said} is better by at least {rule.gain:g}")


def _row(metric: str, rule: str, passed: bool, **numbers: float | None) -> dict[str, Any]:
    columns = dict.fromkeys(("challenger", "champion", "difference", "low", "high"))
    return {"metric": metric, "rule": rule, "passed": passed, **columns, **numbers}


def _page(verdict: dict[str, Any]) -> str:
    """The verdict as Markdown, for the Kubeflow UI and a pull request."""
    against = f"champion version {verdict['champion']}" if verdict["champion"] else "no champion yet"
    lines = [f"## Gate: {verdict['decision']}", "", f"Against: {against}.", ""]
    lines += [f"- {reason}" for reason in verdict["reasons"]]
    lines += [
        "",
        "| metric | rule | challenger | champion | difference | interval | holds |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    for row in verdict["table"]:
        interval = f"{row['low']:+.4f} to {row['high']:+.4f}" if row["low"] is not None else ""
        difference = f"{row['difference']:+.4f}" if row["difference"] is not None else ""
        numbers = [f"{row[name]:.4f}" if row[name] is not None else "" for name in ("challenger", "champion")]
        cells = [row["metric"], row["rule"], *numbers, difference, interval, "yes" if row["passed"] else "**no**"]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "Differences are taken prompt by prompt; positive is better. A primary metric need not all hold:"]
    lines += ["one `better by` row is enough for a promotion, every other row must hold."]
    return "\n".join(lines) + "\n"
