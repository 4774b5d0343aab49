"""The gate beyond one look: more rounds, groups of prompts, ceilings, and what the verdict says of its own power."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmgen.files import read_json
from mmgen.ops.gate.decision import pool
from mmgen.ops.gate.gate import decide
from mmgen.ops.gate.rules import read_rules
from tests.ops.gate.verdicts import RULE_TEXT, champion_of, reseal, scored, verdict


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "gates.yaml"
    path.write_text(RULE_TEXT)
    return path


def test_an_open_question_is_asked_again_and_may_end_in_a_promotion(tmp_path: Path, rules: Path) -> None:
    rules.write_text(RULE_TEXT.replace("rounds: 1", "rounds: 3"))
    few = [scored(tmp_path / name, share, n=60) for name, share in (("new0", 0.8), ("old0", 0.75))]
    many = [scored(tmp_path / name, share, n=400) for name, share in (("new1", 0.8), ("old1", 0.7))]
    asked: list[int] = []

    def challenger(number: int) -> Path:
        asked.append(number)
        return (few, many)[number][0]

    decide(challenger, champion_of(few[1], many[1]), read_rules(rules, "emoji"), tmp_path / "out")

    found = read_json(tmp_path / "out" / "verdict.json")
    assert (found["decision"], found["rounds"]) == ("promote", 2)
    assert asked == [0, 0, 1]  # once for the floors; no third round, since the second one settled it


def test_a_question_that_stays_open_keeps_the_champion(tmp_path: Path, rules: Path) -> None:
    rules.write_text(RULE_TEXT.replace("rounds: 1", "rounds: 2"))
    rounds = [
        [scored(tmp_path / f"{name}{number}", share, n=60 + number) for number in range(2)]
        for name, share in (("new", 0.8), ("old", 0.75))
    ]

    decide(lambda number: rounds[0][number], champion_of(*rounds[1]), read_rules(rules, "emoji"), tmp_path / "out")

    found = read_json(tmp_path / "out" / "verdict.json")
    assert (found["decision"], found["rounds"]) == ("keep", 2)
    assert found["reasons"][0] == "inconclusive after 2 rounds, so the champion stays"
    assert "in 2 rounds" in (tmp_path / "out" / "verdict.md").read_text()


def test_rounds_end_when_asking_again_changes_nothing(tmp_path: Path, rules: Path) -> None:
    rules.write_text(RULE_TEXT.replace("rounds: 1", "rounds: 8"))
    new, old = scored(tmp_path / "new", 0.8, n=60), scored(tmp_path / "old", 0.75, n=60)
    rounds = champion_of(*[old] * 8)

    decide(lambda _: new, rounds, read_rules(rules, "emoji"), tmp_path / "out")

    assert read_json(tmp_path / "out" / "verdict.json")["rounds"] == 2


def test_rounds_are_averaged_over_the_same_prompts_and_replaced_by_more() -> None:
    one, two, three = (
        {"a": [0.0, 1.0], "b": [0.0]},
        {"a": [0.0, 1.0], "b": [1.0, 0.0]},
        {"a": [3.0, 1.0], "b": [0.0, 1.0]},
    )

    assert pool([one, two, three]) == {"a": [1.0, 1.0], "b": [0.5, 0.5]}


def test_every_round_that_may_come_makes_the_bounds_wider(tmp_path: Path, rules: Path) -> None:
    new, old = scored(tmp_path / "new", 0.8), scored(tmp_path / "old", 0.7)
    once = verdict(new, old, rules, tmp_path / "one")["table"][2]
    rules.write_text(RULE_TEXT.replace("rounds: 1", "rounds: 4"))

    assert verdict(new, old, rules, tmp_path / "four")["table"][2]["low"] < once["low"]


def test_every_primary_metric_makes_the_bound_of_a_win_wider_but_not_that_of_a_margin(
    tmp_path: Path, rules: Path
) -> None:
    new, old = scored(tmp_path / "new", 0.8), scored(tmp_path / "old", 0.7)
    alone = verdict(new, old, rules, tmp_path / "one")["table"]
    rules.write_text(RULE_TEXT.replace("margin: 0.05}", "margin: 0.05, gain: 0.02, effect: 0.06}"))
    both = verdict(new, old, rules, tmp_path / "two")["table"]

    assert [row["rule"] for row in alone[2:4]] == ["no worse than -0.05", "better by 0.02"]
    assert both[2]["low"] == alone[2]["low"]
    assert both[3]["low"] < alone[3]["low"]


def in_groups(tmp_path: Path, rules: Path, groups: Any) -> dict[str, Any]:
    """Better in all, but right in none of the last 40 prompts, in which the champion was."""
    rules.write_text(RULE_TEXT.replace("gain: 0.02", "slices: {group: {margin: 0.2, least: 30}}, gain: 0.02"))
    new, old = scored(tmp_path / "new", 0.9), scored(tmp_path / "old", 0.5)
    text = [1.0] * 400
    reseal(old, "scores.json", {"image.r1_seen": [0.0] * 200 + [1.0] * 200, "text.exact_seen": text})
    reseal(new, "scores.json", {"image.r1_seen": [1.0] * 360 + [0.0] * 40, "text.exact_seen": text})
    reseal(new, "groups.json", groups)
    return verdict(new, old, rules, tmp_path / "out")


def test_a_group_that_gets_worse_keeps_the_champion(tmp_path: Path, rules: Path) -> None:
    found = in_groups(tmp_path, rules, {"image.r1_seen": ["a"] * 360 + ["b"] * 40})

    assert found["decision"] == "keep"
    assert found["reasons"][0].startswith("image.r1_seen[b]: -1.0000")


def test_a_group_of_few_prompts_is_not_looked_at(tmp_path: Path, rules: Path) -> None:
    found = in_groups(tmp_path, rules, {"image.r1_seen": ["a"] * 360 + ["b"] * 20 + ["c"] * 20})

    assert found["decision"] == "promote"
    assert [row["metric"] for row in found["table"]].count("image.r1_seen[a]") == 1


@pytest.mark.parametrize("groups", [{}, [], {"image.r1_seen": ["a"] * 399}])
def test_prompts_without_groups_keep_the_champion_where_groups_are_asked_for(
    tmp_path: Path, rules: Path, groups: Any
) -> None:
    found = in_groups(tmp_path, rules, groups)

    assert found["decision"] == "keep"
    assert "groups for" in found["reasons"][0]


def test_what_a_model_costs_has_a_ceiling(tmp_path: Path, rules: Path) -> None:
    rules.write_text(RULE_TEXT + "    cost.seconds: {direction: lower, floor: 2}\n")
    new = scored(tmp_path / "new", 0.9)

    assert verdict(new, None, rules, tmp_path / "a")["reasons"] == ["cost.seconds is missing or not a finite number"]
    reseal(new, "cost.json", {"cost.seconds": {"value": 3.0}})
    assert verdict(new, None, rules, tmp_path / "b")["reasons"] == ["cost.seconds is 3, must be at most 2"]


def test_a_verdict_says_what_it_could_have_found_and_how_many_prompts_are_enough(tmp_path: Path, rules: Path) -> None:
    few, many = (
        verdict(
            scored(tmp_path / f"new{n}", 0.8, n=n), scored(tmp_path / f"old{n}", 0.77, n=n), rules, tmp_path / f"{n}"
        )
        for n in (60, 1000)
    )

    assert few["table"][2]["power"] < 0.8 < many["table"][2]["power"]
    assert 60 < few["table"][2]["enough"] < 1000


def test_the_picture_shows_every_interval_and_what_failed(tmp_path: Path, rules: Path) -> None:
    verdict(scored(tmp_path / "new", 0.9, text=0.7), scored(tmp_path / "old", 0.7), rules, tmp_path / "out")
    page = (tmp_path / "out" / "verdict.html").read_text()

    assert page.count("<circle") == 3
    assert page.count(": fails</text>") == 1
    assert "http://www.w3.org/2000/svg" in page
    assert "src=" not in page


def test_a_few_prompts_without_a_loss_do_not_show_that_there_are_none(tmp_path: Path, rules: Path) -> None:
    new, old = scored(tmp_path / "new", 0.8, n=60), scored(tmp_path / "old", 0.8 - 1 / 60, n=60)

    row = verdict(new, old, rules, tmp_path / "out")["table"][2]

    assert (row["rule"], row["difference"] > 0, row["passed"]) == ("no worse than -0.05", True, False)
