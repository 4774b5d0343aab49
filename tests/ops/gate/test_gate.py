"""The gate's verdicts, on made-up scores."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from mmgen.errors import ConfigError, StorageError
from mmgen.files import read_json, seal, write_json
from mmgen.ops.gate.gate import UNSCORED, Champion, decide
from mmgen.ops.gate.rules import read_rules
from mmgen.ops.runs.keys import RULES
from tests.ops.gate.verdicts import RULE_TEXT, reseal, scored, verdict


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "gates.yaml"
    path.write_text(RULE_TEXT)
    return path


def test_a_first_model_above_the_floors_is_promoted(tmp_path: Path, rules: Path) -> None:
    found = verdict(scored(tmp_path / "new", 0.8), None, rules, tmp_path / "out")

    assert found["decision"] == "promote"
    assert found["champion"] is None
    assert [(row["metric"], row["passed"]) for row in found["table"]] == [("image.r1_seen", True), ("image.kid", True)]


def test_a_first_model_below_a_floor_is_not(tmp_path: Path, rules: Path) -> None:
    found = verdict(scored(tmp_path / "new", 0.3, kid=0.3), None, rules, tmp_path / "out")

    assert found["decision"] == "keep"
    assert found["reasons"] == ["image.r1_seen is 0.3, must be at least 0.5", "image.kid is 0.3, must be at most 0.2"]


def test_a_clearly_better_model_takes_over(tmp_path: Path, rules: Path) -> None:
    found = verdict(scored(tmp_path / "new", 0.8), scored(tmp_path / "old", 0.7), rules, tmp_path / "out")

    assert found["decision"] == "promote"
    assert found["reasons"][0].startswith("image.r1_seen: +0.1000 (+0.0")


def test_a_clearly_worse_model_does_not(tmp_path: Path, rules: Path) -> None:
    found = verdict(scored(tmp_path / "new", 0.6), scored(tmp_path / "old", 0.8), rules, tmp_path / "out")

    assert found["decision"] == "keep"
    assert "worse than the margin of 0.05" in found["reasons"][0]


def test_the_same_scores_keep_the_champion(tmp_path: Path, rules: Path) -> None:
    found = verdict(scored(tmp_path / "new", 0.8), scored(tmp_path / "old", 0.8), rules, tmp_path / "out")

    assert found["decision"] == "keep"
    assert found["reasons"] == ["no primary metric can be better by its gain"]


def test_a_gain_in_one_metric_does_not_pay_for_a_loss_in_another(tmp_path: Path, rules: Path) -> None:
    new = scored(tmp_path / "new", 0.9, text=0.7)

    found = verdict(new, scored(tmp_path / "old", 0.7, text=0.9), rules, tmp_path / "out")

    assert found["decision"] == "keep"
    assert found["reasons"][0].startswith("text.exact_seen: -0.2")


def test_a_real_gain_that_is_too_small_to_be_worth_it_keeps_the_champion(tmp_path: Path, rules: Path) -> None:
    new, old = scored(tmp_path / "new", 0.81, n=4000), scored(tmp_path / "old", 0.80, n=4000)

    found = verdict(new, old, rules, tmp_path / "out")

    assert found["decision"] == "keep"
    assert found["reasons"] == ["no primary metric can be better by its gain"]


def test_a_gain_on_few_noisy_prompts_is_inconclusive_and_keeps_the_champion(tmp_path: Path, rules: Path) -> None:
    new, old = scored(tmp_path / "new", 0.8), scored(tmp_path / "old", 0.7)
    for folder, right in ((new, [1.0] * 42 + [0.0] * 18), (old, [0.0] * 20 + [1.0] * 40)):
        reseal(folder, "scores.json", {"image.r1_seen": right, "text.exact_seen": [1.0] * 60})

    found = verdict(new, old, rules, tmp_path / "out")

    assert found["decision"] == "keep"
    assert found["reasons"][0] == "inconclusive after 1 round, so the champion stays"
    assert "may be worse than the margin" in found["reasons"][1]


def test_a_metric_where_less_is_better_is_compared_the_right_way_round(tmp_path: Path) -> None:
    rules = tmp_path / "gates.yaml"
    rules.write_text(
        RULE_TEXT.replace("direction: higher, margin: 0.05", "direction: lower, margin: 0.05, gain: 0.1, effect: 0.3")
    )
    new, old = scored(tmp_path / "new", 0.8, text=0.2), scored(tmp_path / "old", 0.8, text=0.6)

    assert verdict(new, old, rules, tmp_path / "a")["decision"] == "promote"
    assert verdict(old, new, rules, tmp_path / "b")["decision"] == "keep"


@pytest.mark.parametrize("value", [math.nan, math.inf, None, "0.9", True])
def test_a_score_that_is_no_number_keeps_the_champion(tmp_path: Path, rules: Path, value: Any) -> None:
    new = scored(tmp_path / "new", 0.9)
    metrics = read_json(new / "metrics.json")
    metrics["image.r1_seen"]["value"] = value
    reseal(new, "metrics.json", metrics)

    found = verdict(new, None, rules, tmp_path / "out")

    assert (found["decision"], found["reasons"]) == ("keep", ["image.r1_seen is missing or not a finite number"])


@pytest.mark.parametrize("content", [{}, [], {"image.r1_seen": 0.9}, {"image.r1_seen": None}])
def test_a_missing_score_keeps_the_champion(tmp_path: Path, rules: Path, content: Any) -> None:
    new = scored(tmp_path / "new", 0.9)
    reseal(new, "metrics.json", content)

    assert verdict(new, None, rules, tmp_path / "out")["decision"] == "keep"


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ({"image.r1_seen": [1.0] * 399, "text.exact_seen": [1.0] * 400}, "has 400 prompts, 399 for the champion"),
        ({"image.r1_seen": [1.0] * 400}, "has no scores for text.exact_seen"),
        ({"image.r1_seen": [math.nan] * 400, "text.exact_seen": [1.0] * 400}, "that is not finite"),
        ({"image.r1_seen": [], "text.exact_seen": []}, "has no scores for image.r1_seen"),
        ([], "has no scores for image.r1_seen"),
    ],
)
def test_scores_that_cannot_be_paired_keep_the_champion(tmp_path: Path, rules: Path, scores: Any, words: str) -> None:
    new, old = scored(tmp_path / "new", 0.9), scored(tmp_path / "old", 0.6)
    reseal(old, "scores.json", scores)

    found = verdict(new, old, rules, tmp_path / "out")

    assert found["decision"] == "keep"
    assert words in found["reasons"][0]


def test_an_altered_or_missing_champion_stays(tmp_path: Path, rules: Path) -> None:
    new, old = scored(tmp_path / "new", 0.9), scored(tmp_path / "old", 0.6)
    (old / "scores.json").write_text("{}")

    for number, champion in enumerate((old, tmp_path / "absent")):
        found = verdict(new, champion, rules, tmp_path / f"out{number}")
        assert found["decision"] == "keep"
        assert found["reasons"][0].startswith("champion 3 stays: it cannot be compared with the challenger: ")


@pytest.mark.parametrize("parts", [{"data": "other"}, {"inputs": {"judge": "other", "train": "t"}}])
def test_scores_by_another_judge_or_on_other_data_keep_the_champion(
    tmp_path: Path, rules: Path, parts: dict[str, Any]
) -> None:
    found = verdict(scored(tmp_path / "new", 0.9), scored(tmp_path / "old", 0.6, **parts), rules, tmp_path / "out")

    assert found["decision"] == "keep"
    assert "scored on different data" in found["reasons"][0]


def test_scores_of_two_trainings_by_one_judge_are_compared(tmp_path: Path, rules: Path) -> None:
    old = scored(tmp_path / "old", 0.6, inputs={"judge": "j", "train": "another"})

    assert verdict(scored(tmp_path / "new", 0.9), old, rules, tmp_path / "out")["decision"] == "promote"


def test_an_altered_challenger_is_an_error_not_a_verdict(tmp_path: Path, rules: Path) -> None:
    new = scored(tmp_path / "new", 0.9)
    (new / "metrics.json").write_text("{}")

    with pytest.raises(StorageError, match=r"metrics\.json' has 2 bytes"):
        decide(lambda _: new, None, read_rules(rules, "emoji"), tmp_path / "out")


def test_the_page_shows_decision_reasons_and_every_row(tmp_path: Path, rules: Path) -> None:
    found = verdict(scored(tmp_path / "new", 0.8), scored(tmp_path / "old", 0.7), rules, tmp_path / "out")
    page = (tmp_path / "out" / "verdict.md").read_text()

    assert page.startswith("## Gate: promote\n\nAgainst: champion version 3.\n\n- image.r1_seen: +0.1000")
    assert page.count("\n| ") == 1 + len(found["table"])
    assert "| image.r1_seen | better by 0.02 | 0.8000 | 0.7000 | +0.1000 | +0.0" in page


def test_the_same_scores_give_the_same_verdict(tmp_path: Path, rules: Path) -> None:
    new, old = scored(tmp_path / "new", 0.78), scored(tmp_path / "old", 0.75)

    assert verdict(new, old, rules, tmp_path / "a") == verdict(new, old, rules, tmp_path / "b")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("direction: lower", "direktion: lower", "unknown field 'direktion'; did you mean 'direction'"),
        ("direction: lower", "direction: down", "direction is 'down'; choose higher or lower"),
        ("direction: lower, floor: 0.2", "direction: lower", r"image\.kid: asks nothing"),
        ("floor: 0.2", "floor: low", "floor is 'low'; expected a number"),
        ("floor: 0.2", "floor: .nan", "floor is nan; expected a number"),
        ("floor: 0.2", "floor: true", "floor is True; expected a number"),
        ("margin: 0.05}", "margin: -1}", "margin is -1; expected a number from 0"),
        ("floor: 0.2", "floor: 0.2, gain: 0.1, effect: 0.3", "gain needs a margin"),
        ("emoji:", "emojy:", "unknown field 'emojy'; did you mean 'emoji'"),
        ("level: 0.95", "level: 95", "level is 95; expected a number from 0.5 to 0.9999"),
        ("  seed: 0", "  speed: 0", "unknown field 'speed'; did you mean 'seed'"),
        ("  seed: 0\n", "", "section 'default' has no 'seed'"),
        ("rounds: 1", "rounds: 0", "rounds is 0; expected a number from 1 to 8"),
        (", effect: 0.06", "", r"image\.r1_seen: gain needs an effect"),
        ("effect: 0.06", "effect: 0.02", "effect is 0.02, must be more than the gain of 0.02"),
        ("margin: 0.05}", "margin: 0.05, slices: {group: {margin: 1}}}", "group has no 'least'"),
        ("margin: 0.05}", "margin: 0.05, slices: {class: {}}}", "unknown field 'class'"),
        ("  seed: 0", "  seed: 0\n  drift: {word: 1}", "unknown field 'word'; did you mean 'words'"),
        ("default:", "[", "cannot read the gate's rules"),
        ("{direction: lower, floor: 0.2}", "0.2", r"image\.kid: expected named fields, got 0\.2"),
    ],
)
def test_rules_with_a_mistake_are_refused_in_one_line(rules: Path, old: str, new: str, words: str) -> None:
    rules.write_text(RULE_TEXT.replace(old, new, 1))

    with pytest.raises(ConfigError, match=words) as caught:
        read_rules(rules, "emoji")

    assert "\n" not in str(caught.value)


def test_a_recipe_without_rules_is_refused(rules: Path) -> None:
    with pytest.raises(ConfigError, match="no metric in section 'digits'; a gate without rules lets all pass"):
        read_rules(rules, "digits")


def test_a_recipe_takes_the_default_metrics_and_may_replace_them(rules: Path) -> None:
    rules.write_text(RULE_TEXT.replace("seed: 0", "seed: 0\n  metrics: {image.kid: {direction: lower, floor: 9}}"))

    assert {rule.metric: rule.floor for rule in read_rules(rules, "emoji").metrics}["image.kid"] == 0.2
    assert {rule.metric: rule.floor for rule in read_rules(rules, "digits").metrics} == {"image.kid": 9}


def test_the_rules_of_this_repository_are_well_formed() -> None:
    rules = read_rules(RULES, "emoji")

    assert any(rule.win is not None for rule in rules.metrics)
    assert {"image.r5_seen", "text.exact_seen", "judge.accuracy", "codec.psnr"} <= {
        rule.metric for rule in rules.metrics if rule.floor is not None
    }


def test_a_champion_that_cannot_be_scored_on_these_prompts_stays(tmp_path: Path, rules: Path) -> None:
    challenger, unscored = scored(tmp_path / "new", 0.99), tmp_path / "old"
    write_json(unscored / UNSCORED, {"reason": "unknown language 'de'"})
    seal(unscored)

    decide(lambda _: challenger, Champion(version="3", scored=lambda _: unscored), read_rules(rules, "emoji"), tmp_path)

    found = read_json(tmp_path / "verdict.json")
    assert found["decision"] == "keep"
    assert "champion 3 stays: it cannot be scored on these prompts: unknown language 'de'" in found["reasons"]


def test_scores_of_other_prompts_keep_the_champion(tmp_path: Path, rules: Path) -> None:
    new, old = scored(tmp_path / "new", 0.9), scored(tmp_path / "old", 0.6)
    reseal(old, "prompts.json", {"seen": list(range(1, 401))})

    found = verdict(new, old, rules, tmp_path / "out")

    assert found["decision"] == "keep"
    assert "scored on different prompts" in found["reasons"][0]
