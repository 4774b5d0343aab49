"""Two sealed evaluations beside each other, without a pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmgen.errors import ConfigError
from mmgen.files import seal, write_json
from mmgen.modalities import image
from pipelines.studies.comparison import find, scores
from pipelines.studies.comparison_page import write_page


def evaluated(root: Path, key: str, values: list[float], prompts: list[str], side: int, data: str = "d1") -> Path:
    """A sealed evaluation of training `train-KEY` with one score and one section."""
    folder = root / "stages" / "evaluate" / key
    mean = float(np.mean(values))
    write_json(folder / "metrics.json", {"text.exact_seen": {"value": mean, "low": 0.0, "high": 1.0, "n": len(values)}})
    write_json(folder / "scores.json", {"text.exact_seen": values})
    write_json(folder / "prompts.json", {"seen": prompts})
    media = []
    for label in ("real", "drawn"):
        image.write(np.full((side, side, 3), len(label), np.uint8), folder / f"{label}.png")
        media.append({"label": label, "kind": "image", "file": f"{label}.png"})
    tiles = [{"title": f"<{prompt}>", "media": media, "remarks": [["right", True]]} for prompt in prompts]
    section: dict[str, Any] = {"name": "seen", "title": "Seen", "about": "", "sheet": "drawn.png", "tiles": tiles}
    write_json(folder / "examples.json", {"headline": [], "pairs": [], "sections": [section]})
    inputs = {"train": f"train-{key}", "judge": "none"}
    seal(folder, data_version=data, run_key=key, parts={"inputs": inputs})
    return folder


def test_the_difference_is_paired_where_prompts_and_data_are_the_same_and_missing_elsewhere(tmp_path: Path) -> None:
    a = evaluated(tmp_path, "a", [0.0, 1.0], ["x", "y"], 8)
    same = evaluated(tmp_path, "b", [1.0, 1.0], ["x", "y"], 8)
    turned = evaluated(tmp_path, "c", [1.0, 1.0], ["y", "x"], 8)
    of_other_data = evaluated(tmp_path, "d", [1.0, 1.0], ["x", "y"], 8, data="d2")

    assert scores(a, same)["text.exact_seen"]["difference"]["value"] == 0.5
    assert scores(a, turned)["text.exact_seen"]["difference"] is None
    assert scores(a, of_other_data)["text.exact_seen"]["difference"] is None


def test_the_page_shows_the_real_thing_once_and_what_both_made_of_it(tmp_path: Path) -> None:
    a = evaluated(tmp_path, "a", [0.0, 1.0], ["x", "y"], 8)
    b = evaluated(tmp_path, "b", [1.0, 1.0], ["x", "y"], 16)

    page = write_page(a, b, ("A<1>", "B"), scores(a, b))

    assert page.count('alt="real"') == 2
    assert page.count('alt="drawn"') == 4
    assert page.index("&lt;x&gt;") < page.index("&lt;y&gt;")
    assert "A&lt;1&gt;" in page
    assert "://" not in page


def test_a_training_leads_to_its_newest_scores_and_one_without_says_what_to_do(tmp_path: Path) -> None:
    folder = evaluated(tmp_path, "a", [0.0, 1.0], ["x", "y"], 8)
    for name in ("train-a", "train-z"):
        trained = tmp_path / "stages" / "train" / name
        write_json(trained / "model" / "config.json", {})
        seal(trained, run_key=name)

    assert find(tmp_path, str(tmp_path / "stages" / "train" / "train-a")) == folder
    assert find(tmp_path, str(folder)) == folder
    with pytest.raises(ConfigError, match="run its recipe again"):
        find(tmp_path, str(tmp_path / "stages" / "train" / "train-z"))
