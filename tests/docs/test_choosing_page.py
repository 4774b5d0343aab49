"""Figures on the page that helps to choose are those that were measured."""

from __future__ import annotations

import re

import pytest

from mmgen.files import read_json
from pipelines.studies.systems import MEASURED
from tests.support.whole_run import ROOT

PAGE = (ROOT / "docs" / "choosing.md").read_text()
FIGURES = re.findall(r"`([a-z-]+)` (default|small) `([A-Za-z0-9_.]+)` (-?[\d.]*\d)", PAGE)


def test_the_page_has_figures() -> None:
    assert len(FIGURES) > 30


@pytest.mark.parametrize(("recipe", "size", "score", "value"), FIGURES)
def test_a_figure_is_the_measured_one(recipe: str, size: str, score: str, value: str) -> None:
    scores = {entry["name"]: entry["value"] for entry in read_json(MEASURED)[recipe][size]["scores"]}

    assert f"{scores[score]:.3f}" == value
