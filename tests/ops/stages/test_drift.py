"""Shift of the data: real samples, spoiled in one way each; the measure that should see it does, and bounds refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmgen.data.changes.profile import profile, shifts, worst_words
from mmgen.data.changes.shift_page import shift_section
from mmgen.data.corpus import load_corpus
from mmgen.errors import DataError, TrackingError
from mmgen.ops.registry.champions import promote
from mmgen.ops.registry.registration import register
from mmgen.ops.runs.cache import run_stage
from mmgen.ops.runs.run import Run
from mmgen.ops.stages import drift
from mmgen.ops.tracking.stage_run import stage_run
from mmgen.ops.validation.tables import Row, describe
from tests.support.runs import make_trained, small_run


@pytest.fixture(scope="module")
def rows(tiny_emoji: Path) -> list[Row]:
    samples = load_corpus(tiny_emoji, "train").samples
    return [describe("train", sample, ["en"], ["image", "text"]) for sample in samples]


def shifted(rows: list[Row], **change: Any) -> list[Row]:
    return [row | {name: edit(row[name]) for name, edit in change.items()} for row in rows]


def test_the_same_data_have_not_shifted(rows: list[Row]) -> None:
    found = shifts(profile(rows, "en"), profile(rows, "en"))

    assert set(found) == {"counts", "groups", "words", "lengths", "pictures"}
    assert all(value == pytest.approx(0, abs=1e-5) for value in found.values())


@pytest.mark.parametrize(
    ("measure", "change"),
    [
        ("words", {"caption_en": lambda text: text[::-1]}),
        ("lengths", {"caption_en": lambda text: f"{text} {text} {text}"}),
        ("groups", {"group": lambda _: "people"}),
        ("pictures", {"thumbnail": lambda array: 255 - array}),
    ],
)
def test_a_shift_shows_in_its_own_measure_beyond_two_halves_of_the_same(
    rows: list[Row], measure: str, change: dict[str, Any]
) -> None:
    before = profile(rows, "en")

    found = shifts(before, profile(shifted(rows, **change), "en"))

    assert found[measure] > 1.2 * before["halves"][measure]
    others = set(found) - {measure} - ({"words", "lengths"} if measure in ("words", "lengths") else set())
    assert all(found[name] == pytest.approx(0, abs=1e-5) for name in others)


def test_a_split_that_is_gone_or_halved_shows(rows: list[Row]) -> None:
    before = profile([*rows, *(row | {"split": "test"} for row in rows[:20])], "en")

    assert shifts(before, profile([*rows, *(row | {"split": "test"} for row in rows[:10])], "en"))["counts"] == 1.0
    assert shifts(before, profile(rows, "en"))["counts"] > 1e6


def test_the_words_that_changed_most_are_named(rows: list[Row]) -> None:
    now = shifted(rows, caption_en=lambda text: f"{text} nonsense")

    assert worst_words(profile(rows, "en"), profile(now, "en"))[0][0] == "nonsense"


def validated(run: Run, rows: list[Row]) -> None:
    from mmgen.files import write_json

    run_stage(
        "validate",
        run.keys.stages["validate"],
        run.root,
        lambda out: write_json(out / "profile.json", profile(rows, "en")),
        facts=run.facts("validate"),
    )


@pytest.fixture
def second(root: Path, rows: list[Row]) -> Run:
    """A run whose data are not yet validated; the champion was trained on `rows`."""
    first = small_run(root, 1)
    validated(first, rows)
    make_trained(first)
    out = root / "out"
    out.mkdir()
    with stage_run(first, "register", out) as tracked:
        register(first, tracked, out)
    promote(root, "mmgen-emoji", "1")
    return small_run(root, 2)


def with_bounds(monkeypatch: pytest.MonkeyPatch, folder: Path, bounds: str) -> None:
    rules = folder / "gates.yaml"
    metric = "metrics: {a: {direction: higher, floor: 0}}"
    rules.write_text(f"default: {{level: 0.95, resamples: 1000, seed: 0, rounds: 1, drift: {bounds}, {metric}}}")
    monkeypatch.setattr(drift, "RULES", rules)


def test_a_shift_beyond_its_bound_is_refused_and_shown(
    second: Run, rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_bounds(monkeypatch, second.root, "{words: 0.3, pictures: 0.5}")
    validated(second, shifted(rows, caption_en=lambda text: text[::-1]))

    with pytest.raises(
        DataError, match=r"shifted from those of champion version 1 \(words of the captions.* bound 0\.3\)"
    ):
        drift.check(second)

    page = shift_section(drift.found(second))
    assert page.count(">over<") == 1
    assert page.count(">ok<") == 1


def test_a_shift_within_its_bounds_passes(second: Run, rows: list[Row], monkeypatch: pytest.MonkeyPatch) -> None:
    with_bounds(monkeypatch, second.root, "{words: 0.3, counts: 0.5}")
    validated(second, rows[:50])

    drift.check(second)

    assert drift.found(second)["shifts"]["counts"] == 0.2


def test_without_bounds_a_large_shift_is_only_warned_of(
    second: Run, rows: list[Row], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_bounds(monkeypatch, second.root, "{}")
    validated(second, shifted(rows, group=lambda _: "people"))

    drift.check(second)

    assert "warning: the data have shifted from those of champion version 1 in groups" in capsys.readouterr().err


@pytest.mark.parametrize("bounds", ["{}", "{words: 0.3}"])
def test_a_champion_without_a_profile_stops_the_run_only_where_there_are_bounds(
    second: Run, rows: list[Row], monkeypatch: pytest.MonkeyPatch, bounds: str
) -> None:
    with_bounds(monkeypatch, second.root, bounds)
    validated(second, rows)
    (small_run(second.root, 1).folder("validate") / "profile.json").unlink()

    if bounds == "{}":
        drift.check(second)
    else:
        with pytest.raises(DataError, match="cannot be held against those of champion version 1"):
            drift.check(second)
    assert "cannot be held against" in shift_section(drift.found(second))


def test_the_first_model_has_nothing_to_be_held_against(root: Path, rows: list[Row]) -> None:
    run = small_run(root, 1)
    validated(run, rows)

    drift.check(run)

    assert drift.found(run) == {}
    assert shift_section({}) == ""


@pytest.mark.parametrize("bounds", ["{}", "{words: 0.3}"])
def test_a_registry_that_is_broken_stops_the_run_only_where_there_are_bounds(
    tmp_path: Path, rows: list[Row], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], bounds: str
) -> None:
    with_bounds(monkeypatch, tmp_path, bounds)
    run = small_run(tmp_path, 1)
    validated(run, rows)
    (tmp_path / "mlflow.db").write_text("no database at all, only some words")

    if bounds == "{}":
        drift.check(run)
        assert "warning: the data are not held against the champion's" in capsys.readouterr().err
    else:
        with pytest.raises(TrackingError):
            drift.check(run)
