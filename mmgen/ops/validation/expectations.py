"""What we expect of a data set: the Great Expectations suite, one rule a line, and how a table is held against it.

Tables: `files` and `licences` come from the card; `rows` has one line per sample, each judged by itself, so that a
bad one can be set aside; `relations` has the same lines judged against each other; `counts` adds them up.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mmgen.data.limits import CHARACTERS, FLAT, GROUP_MINIMUM, LENGTHS, SIDE, SPLIT_MINIMUM

if TYPE_CHECKING:
    import pandas as pd

Table = Literal["files", "licences", "rows", "relations", "counts"]

MODES = ["1", "L", "LA", "I;16", "P", "PA", "RGB", "RGBA", "CMYK"]
"""Pillow's modes that `mmgen.modalities.image` turns into RGB."""
OWN_SCRIPT = 0.3
"""Smallest share of letters in the language's own script; the rest may be Latin, as in FREE or DVD."""


@dataclass(frozen=True)
class Rule:
    """One expectation."""

    name: str
    table: Table
    says: str
    """In words, for the page."""
    expectation: Any
    """From `great_expectations.expectations`, on one column of the table."""
    wrong: str
    """What to say of a bad row; `{value}` is what was found."""


@dataclass(frozen=True)
class Outcome:
    """One rule held against its table."""

    rule: Rule
    rows: dict[str, str]
    """Bad rows, each with its reason, in the table's order; empty when the rule holds."""


def rules(languages: Sequence[str], modalities: Sequence[str]) -> list[Rule]:
    """The suite for a data set of these modalities, with captions in `languages` where text is one of them.

    The first failure in this order is the one that is reported first.
    """
    asked = [*_card(), *_facts()]
    asked += _pictures() if "image" in modalities else []
    asked += [rule for modality in LENGTHS if modality in modalities for rule in _others(modality)]
    if "text" in modalities:
        asked += [*_text(), *(rule for code in languages for rule in _captions(code))]
    return [*asked, *_relations()]


# In the functions below each rule is its name, its table and what it says; then the expectation and what is wrong
# with a row that does not meet it. A column that ends in `problem` holds what is wrong in words, or nothing.
# fmt: off


def _card() -> list[Rule]:
    from great_expectations import expectations as gx

    return [
        Rule("files_intact", "files", "every file is on the card, with the sha256 of the card",
             gx.ExpectColumnValuesToBeNull(column="problem"), "{value}"),
        Rule("licence_named", "licences", "every part has a licence",
             gx.ExpectColumnValuesToNotBeNull(column="licence"), "no licence"),
        Rule("licence_credited", "licences", "every part credits its makers",
             gx.ExpectColumnValuesToNotBeNull(column="credit"), "no credit"),
        Rule("licence_linked", "licences", "every licence that names an address can be looked up there",
             gx.ExpectColumnValuesToMatchRegex(column="url", regex="^https?://[^ ]+$"), "its url is {value!r}"),
    ]


def _facts() -> list[Rule]:
    from great_expectations import expectations as gx

    return [
        Rule("facts_readable", "rows", "the json part of every sample can be read",
             gx.ExpectColumnValuesToBeNull(column="facts_problem"), "{value}"),
        Rule("concept_present", "rows", "every sample names its concept",
             gx.ExpectColumnValuesToNotBeNull(column="concept"), "no concept"),
        Rule("group_present", "rows", "every sample names its group",
             gx.ExpectColumnValuesToNotBeNull(column="group"), "no group"),
    ]


def _pictures() -> list[Rule]:
    from great_expectations import expectations as gx

    low, high = SIDE
    return [
        Rule("picture_readable", "rows", "every sample has one picture, which can be decoded",
             gx.ExpectColumnValuesToBeNull(column="picture_problem"), "{value}"),
        Rule("picture_width", "rows", f"pictures are {low} to {high} pixels wide",
             gx.ExpectColumnValuesToBeBetween(column="width", min_value=low, max_value=high),
             "{value:.0f} pixels wide"),
        Rule("picture_height", "rows", f"pictures are {low} to {high} pixels high",
             gx.ExpectColumnValuesToBeBetween(column="height", min_value=low, max_value=high),
             "{value:.0f} pixels high"),
        Rule("picture_mode", "rows", "colours are stored in a mode that can be converted to RGB",
             gx.ExpectColumnValuesToBeInSet(column="mode", value_set=MODES), "mode {value}"),
        Rule("picture_not_blank", "rows", "every picture shows something",
             gx.ExpectColumnValuesToBeBetween(column="spread", min_value=FLAT), "one flat colour (spread {value:.2f})"),
    ]


def _others(modality: str) -> list[Rule]:
    from great_expectations import expectations as gx

    low, high, unit = LENGTHS[modality]
    return [
        Rule(f"{modality}_readable", "rows", f"every sample has {modality}, which can be decoded",
             gx.ExpectColumnValuesToBeNull(column=f"{modality}_problem"), "{value}"),
        Rule(f"{modality}_length", "rows", f"{modality} has {low} to {high} {unit}",
             gx.ExpectColumnValuesToBeBetween(column=f"{modality}_length", min_value=low, max_value=high),
             f"{{value:.2f}} {unit}"),
        Rule(f"{modality}_not_blank", "rows", f"{modality} is not silent, flat or empty",
             gx.ExpectColumnValuesToBeBetween(column=f"{modality}_spread", min_value=0, strict_min=True),
             "it never changes"),
    ]


def _text() -> list[Rule]:
    from great_expectations import expectations as gx

    return [
        Rule("text_readable", "rows", "the txt part of every sample is clean UTF-8",
             gx.ExpectColumnValuesToBeNull(column="text_problem"), "{value}"),
        Rule("text_agrees", "rows", "the txt part is the English caption of the json part",
             gx.ExpectColumnValuesToBeNull(column="agreement_problem"), "{value}"),
    ]


def _captions(code: str) -> list[Rule]:
    from great_expectations import expectations as gx

    low, high = CHARACTERS
    return [
        Rule(f"caption_present_{code}", "rows", f"every sample has a caption in {code!r}",
             gx.ExpectColumnValuesToNotBeNull(column=f"caption_{code}"), "no caption"),
        Rule(f"caption_length_{code}", "rows", f"captions in {code!r} have {low} to {high} characters",
             gx.ExpectColumnValuesToBeBetween(column=f"characters_{code}", min_value=low, max_value=high),
             "{value:.0f} characters"),
        Rule(f"caption_clean_{code}", "rows", f"captions in {code!r} are in normal form, without control characters",
             gx.ExpectColumnValuesToBeNull(column=f"problem_{code}"), "{value}"),
        Rule(f"caption_language_{code}", "rows", f"captions in {code!r} are written in its script",
             gx.ExpectColumnValuesToBeBetween(column=f"script_{code}", min_value=OWN_SCRIPT),
             "{value:.0%} of its letters are in the script of the language"),
    ]


def _relations() -> list[Rule]:
    from great_expectations import expectations as gx

    return [
        Rule("key_unique", "relations", "no key occurs twice",
             gx.ExpectColumnValuesToBeUnique(column="key"), "key {value} occurs twice"),
        Rule("picture_not_shared", "relations", "no two splits share a picture, sound, video or tune, bit by bit",
             gx.ExpectColumnValuesToBeNull(column="same_picture"), "the same as {value}"),
        Rule("picture_not_copied", "relations", "no two splits share a picture that was saved again or touched up",
             gx.ExpectColumnValuesToBeNull(column="near_picture"), "nearly the same picture as {value}"),
        Rule("concept_held_out", "relations", "held-out concepts occur in no other split",
             gx.ExpectColumnValuesToBeNull(column="same_concept"), "same concept as {value}"),
        Rule("caption_held_out", "relations", "where concepts are held out, no two splits share a caption",
             gx.ExpectColumnValuesToBeNull(column="same_caption"), "same caption as {value}"),
        Rule("counts_enough", "counts",
             f"every split has {SPLIT_MINIMUM} samples, every group {GROUP_MINIMUM} of train",
             gx.ExpectColumnValuesToBeNull(column="problem"), "{value}"),
    ]


# fmt: on


def open_context() -> Any:
    """A Great Expectations context that lives in memory, draws no bars and sends nothing to its makers."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    logging.getLogger("great_expectations").setLevel(logging.WARNING)  # under KFP it would fill the pod's log
    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(enable=False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context


def hold(context: Any, table: Table, frame: pd.DataFrame, suite: Sequence[Rule]) -> list[Outcome]:
    """Hold the rules of `table` against a frame whose column `row` names its rows."""
    import great_expectations as gx

    chosen = {rule.name: rule for rule in suite if rule.table == table}
    if frame.empty:  # nothing to judge; `counts` and `files` say why
        return [Outcome(rule, {}) for rule in chosen.values()]
    asset = context.data_sources.add_pandas(table).add_dataframe_asset(table)
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    expectations = []
    for rule in chosen.values():
        rule.expectation.meta = {"rule": rule.name}
        expectations.append(rule.expectation)
    report = batch.validate(
        gx.ExpectationSuite(name=table, expectations=expectations),
        result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["row"]},
    )
    found = {}
    for result in report.results:
        rule = chosen[result.expectation_config.meta["rule"]]
        if not result.success and "unexpected_index_list" not in result.result:
            raise RuntimeError(f"expectation {rule.name} could not be computed: {result.exception_info}")
        bad = [] if result.success else result.result["unexpected_index_list"]
        column = rule.expectation.column
        found[rule.name] = {item["row"]: rule.wrong.format(value=item.get(column)) for item in bad}
    return [Outcome(rule, found[rule.name]) for rule in chosen.values()]
