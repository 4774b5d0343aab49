"""The gate: may the new model take the champion's place?

Rules are data (`gates.yaml`), the verdict is a file that people read, docs/gate.md says how. Champion and challenger
were scored on the same prompts with the same noise, so their difference is taken prompt by prompt. What the scores
leave open is asked again with more prompts or other noise, up to a number of rounds; then the champion stays.
Whatever is missing, not finite or not comparable counts against the challenger: the gate fails closed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmgen.errors import MmgenError, StorageError
from mmgen.files import open_sealed, read_json, write_bytes, write_json
from mmgen.ops.gate import page
from mmgen.ops.gate.rules import Rules

if TYPE_CHECKING:
    from mmgen.ops.gate.decision import Findings

Evaluation = Callable[[int], Path]
"""The sealed output of stage `evaluate` for one model, by round from 0; or a sealed folder with `UNSCORED`."""

UNSCORED = "unscored.json"
"""In place of scores: the reason why the model cannot be asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Champion:
    """The model in use."""

    version: str
    """In the registry, for the reader."""
    scored: Evaluation
    """Scores it on the run's prompts."""


class _ApartError(MmgenError):
    """The two models have no common ground."""


def decide(challenger: Evaluation, champion: Champion | None, asked: Rules, out: Path) -> None:
    """Write `verdict.json`, `verdict.md` and `verdict.html` into `out`.

    Args:
        challenger: its evaluations.
        champion: None when there is none.
        asked: the rules that hold for it.

    Raises:
        StorageError: the challenger's folder is not whole.
    """
    from mmgen.ops.gate.decision import Findings, Groups, Scores, settle

    first = challenger(0)
    open_sealed(first)
    floors = Findings()
    measured = [_mapping(read_json(first / name)) for name in ("metrics.json", "cost.json") if (first / name).is_file()]
    _check_floors(asked, {name: metric for part in measured for name, metric in part.items()}, floors)

    def ask(number: int) -> tuple[Scores, Scores, Groups]:
        ours, theirs = challenger(number), champion.scored(number)  # type: ignore[union-attr]  # asked with one only
        for folder in (ours, theirs):
            if (folder / UNSCORED).is_file():
                raise _ApartError(f"it cannot be scored on these prompts: {read_json(folder / UNSCORED)['reason']}")
        try:
            _check_comparable(ours, theirs)
            return _scores(ours, asked), _scores(theirs, asked), _groups(ours)
        except StorageError as error:
            raise _ApartError(f"it cannot be compared with the challenger: {error}") from error

    verdict: dict[str, Any] = {"champion": champion.version if champion else None, "rounds": 0, "table": floors.table}
    if champion is None:
        reasons = floors.refusals or ["there is no champion yet and every floor holds"]
        verdict |= {"decision": "keep" if floors.refusals else "promote", "reasons": reasons}
    else:
        try:
            verdict |= dataclasses.asdict(settle(asked, ask, floors))
        except _ApartError as error:
            verdict |= {
                "decision": "keep",
                "reasons": [*floors.refusals, f"champion {champion.version} stays: {error}"],
            }
    write_json(out / "verdict.json", verdict)
    write_bytes(out / "verdict.md", page.markdown(verdict).encode())
    write_bytes(out / "verdict.html", page.html(verdict).encode())


def _check_floors(rules: Rules, metrics: Mapping[str, Any], found: Findings) -> None:
    """What needs no champion: every metric of the rules is there, finite and not below its floor."""
    from mmgen.ops.gate.decision import row

    for rule in rules.metrics:
        value = _number(_mapping(metrics.get(rule.metric)).get("value"))
        if value is None:
            found.refusals.append(f"{rule.metric} is missing or not a finite number")
        if rule.floor is None:
            continue
        passed = value is not None and (value >= rule.floor if rule.higher else value <= rule.floor)
        words = f"at {'least' if rule.higher else 'most'} {rule.floor:g}"
        found.table.append(row(rule.metric, words, passed, challenger=value))
        if value is not None and not passed:
            found.refusals.append(f"{rule.metric} is {value:.4g}, must be {words}")


def _check_comparable(ours: Path, theirs: Path) -> None:
    """Both were scored on one set by one judge with one code: only the trained model differs.

    Raises:
        StorageError: they were not, a folder is not whole, or its seal does not say.
    """
    parts = [_mapping(open_sealed(folder).get("parts")) for folder in (ours, theirs)]
    same = [{**part, "inputs": {**_mapping(part.get("inputs")), "train": ""}} for part in parts]
    if not all(parts) or same[0] != same[1]:
        raise StorageError("they were scored on different data, by different judges or with different settings")
    if read_json(ours / "prompts.json") != read_json(theirs / "prompts.json"):
        raise StorageError("they were scored on different prompts")


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


def _groups(folder: Path) -> Mapping[str, Sequence[str]]:
    path = folder / "groups.json"
    return _mapping(read_json(path)) if path.is_file() else {}


def _mapping(content: Any) -> dict[str, Any]:
    return content if isinstance(content, dict) else {}


def _number(value: Any) -> float | None:
    """`value` as a finite number, else None."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return None
    return float(value)
