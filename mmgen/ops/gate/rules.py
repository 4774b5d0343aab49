"""The gate's rules as data: `gates.yaml`, read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmgen.errors import ConfigError, unknown
from mmgen.evaluation.config import TASKS
from mmgen.files import read_yaml
from mmgen.recipes import NAMES, Recipe, on_own_data

_COMMON = ("level", "resamples", "seed", "rounds", "drift")


@dataclass(frozen=True, kw_only=True, slots=True)
class WinRule:
    """What makes a primary metric better."""

    gain: float
    """Smallest measured improvement that is worth a new champion."""
    effect: float
    """True improvement that the gate should find in four cases of five; larger than `gain`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupRule:
    """What is asked of one metric within every group of prompts."""

    margin: float
    """Largest tolerated loss of a group against the champion."""
    least: int
    """Prompts of a group that is looked at; smaller ones say too little."""


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
    win: WinRule | None = None
    """None for a metric that cannot win by itself."""
    group: GroupRule | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """The rules for one recipe."""

    level: float
    """1 - level is the chance of a promotion that should not be, all metrics and rounds taken together."""
    resamples: int
    seed: int
    rounds: int
    """Most evaluations of either model before an open question keeps the champion."""
    metrics: tuple[Rule, ...]
    drift: dict[str, float]
    """Largest shift of the data from the champion's, by measure (`mmgen.data.changes.profile`)."""


def section(recipe: Recipe) -> str:
    """The section of `gates.yaml` that holds: the recipe's, or its task's where the data are not the recipe's own."""
    return recipe.name if on_own_data(recipe) else recipe.evaluation.task


def read_rules(path: Path, name: str) -> Rules:
    """The rules of section `name` (a recipe or a task), laid over those of section `default`.

    Raises:
        ConfigError: missing, not YAML, an unknown or missing field, a value of the wrong kind.
    """
    from mmgen.data.changes.profile import MEASURES

    try:
        content = read_yaml(path)
    except ConfigError as error:
        raise ConfigError(f"cannot read the gate's rules {error}") from error
    sections = _section(content, ("default", *NAMES, *TASKS), path.name)
    default = _section(sections.get("default"), (*_COMMON, "metrics"), f"{path.name} default")
    own = _section(sections.get(name, {"metrics": {}}), (*_COMMON, "metrics"), f"{path.name} {name}")
    merged = {**default, **own}
    if missing := {"level", "resamples", "seed", "rounds"} - merged.keys():
        raise ConfigError(f"{path.name}: section 'default' has no {min(missing)!r}")
    metrics = {**_fields(default.get("metrics"), path.name), **_fields(own.get("metrics"), path.name)}
    drift = {**_fields(default.get("drift"), path.name), **_fields(own.get("drift"), path.name)}
    rules = Rules(
        level=_value(merged["level"], f"{path.name} level", low=0.5, high=0.9999),
        resamples=int(_value(merged["resamples"], f"{path.name} resamples", low=1000, high=1e6)),
        seed=int(_value(merged["seed"], f"{path.name} seed", low=0, high=2**31)),
        rounds=int(_value(merged["rounds"], f"{path.name} rounds", low=1, high=8)),
        metrics=tuple(_rule(name, fields, f"{path.name} {name}") for name, fields in metrics.items()),
        drift={
            measure: _value(bound, f"{path.name} drift {measure}", low=0, high=1e9)
            for measure, bound in _section(drift, tuple(MEASURES), f"{path.name} drift").items()
        },
    )
    if not rules.metrics:
        raise ConfigError(f"{path.name} has no metric in section {name!r}; a gate without rules lets all pass")
    return rules


def _rule(name: str, fields: Any, where: str) -> Rule:
    known = _section(fields, ("direction", "floor", "margin", "gain", "effect", "slices"), where)
    direction = known.get("direction")
    if direction not in ("higher", "lower"):
        raise ConfigError(f"{where}: direction is {direction!r}; choose higher or lower")
    if not known.keys() & {"floor", "margin"}:
        raise ConfigError(f"{where}: asks nothing; give it a floor or a margin")
    for field, needed in (("gain", "margin"), ("gain", "effect"), ("effect", "gain"), ("slices", "margin")):
        if field in known and needed not in known:
            raise ConfigError(f"{where}: {field} needs {'an' if needed == 'effect' else 'a'} {needed} beside it")
    return Rule(
        metric=name,
        higher=direction == "higher",
        floor=_value(known["floor"], f"{where} floor", low=-1e9, high=1e9) if "floor" in known else None,
        margin=_value(known["margin"], f"{where} margin", low=0, high=1e9) if "margin" in known else None,
        win=_win(known, where) if "gain" in known else None,
        group=_group(known["slices"], where) if "slices" in known else None,
    )


def _win(known: dict[str, Any], where: str) -> WinRule:
    gain, effect = (_value(known[field], f"{where} {field}", low=0, high=1e9) for field in ("gain", "effect"))
    if effect <= gain:
        raise ConfigError(
            f"{where}: effect is {effect:g}, must be more than the gain of {gain:g}: "
            "of all models that are better by just the gain, half measure less"
        )
    return WinRule(gain=gain, effect=effect)


def _group(fields: Any, where: str) -> GroupRule:
    known = _section(_section(fields, ("group",), f"{where} slices").get("group"), ("margin", "least"), where)
    if missing := {"margin", "least"} - known.keys():
        raise ConfigError(f"{where} slices: group has no {min(missing)!r}")
    return GroupRule(
        margin=_value(known["margin"], f"{where} slices margin", low=0, high=1e9),
        least=int(_value(known["least"], f"{where} slices least", low=10, high=1e9)),
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
