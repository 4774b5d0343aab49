"""Made-up scores, rules and verdicts for tests of the gate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmgen.files import read_json, seal
from mmgen.ops.gate.gate import Champion, decide
from mmgen.ops.gate.rules import read_rules

RULE_TEXT = """
default:
  level: 0.95
  resamples: 2000
  seed: 0
  rounds: 1
emoji:
  metrics:
    image.r1_seen: {direction: higher, floor: 0.5, margin: 0.05, gain: 0.02, effect: 0.06}
    text.exact_seen: {direction: higher, margin: 0.05}
    image.kid: {direction: lower, floor: 0.2}
"""
PARTS = {"data": "d", "inputs": {"judge": "j", "train": "t"}}


def scored(folder: Path, image: float, text: float = 0.9, kid: float = 0.1, n: int = 400, **parts: Any) -> Path:
    """An evaluation: `image` and `text` are shares of n prompts that are right, the easy ones first."""
    folder.mkdir()
    scores = {
        "image.r1_seen": [1.0] * round(image * n) + [0.0] * (n - round(image * n)),
        "text.exact_seen": [1.0] * round(text * n) + [0.0] * (n - round(text * n)),
    }
    values = {**{name: sum(row) / n for name, row in scores.items()}, "image.kid": kid}
    metrics = {name: {"value": value, "low": value, "high": value, "n": n} for name, value in values.items()}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "scores.json").write_text(json.dumps(scores))
    (folder / "prompts.json").write_text(json.dumps({"seen": list(range(n))}))
    seal(folder, recipe="emoji", parts={**PARTS, **parts})
    return folder


def reseal(folder: Path, name: str, content: Any) -> None:
    (folder / name).write_text(json.dumps(content))
    (folder / "SEAL.json").unlink()
    seal(folder, recipe="emoji", parts=PARTS)


def champion_of(*rounds: Path) -> Champion:
    return Champion(version="3", scored=lambda number: rounds[number])


def verdict(challenger: Path, champion: Path | None, rules: Path, out: Path) -> dict[str, Any]:
    holder = champion_of(champion) if champion else None
    decide(lambda _: challenger, holder, read_rules(rules, "emoji"), out)
    found: dict[str, Any] = read_json(out / "verdict.json")
    return found
