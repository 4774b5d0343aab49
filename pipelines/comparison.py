"""Two models beside each other: their scores with intervals, and their sample grids in one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmgen.errors import ConfigError
from mmgen.files import SEAL, is_sealed, open_sealed, read_json

MARGIN = 16


def find(root: Path, wanted: str) -> Path:
    """Sealed folder of scores for a folder, a model version or any other id of a run.

    Raises:
        ConfigError: no such run, or its scores are no longer there.
    """
    if Path(wanted).is_dir():
        open_sealed(Path(wanted))
        return Path(wanted)
    from mmgen.ops.lineage import lineage

    run_key = lineage(root, wanted).run_key
    for seal in sorted((root / "stages" / "register").glob(f"*/{SEAL}")):
        content = read_json(seal)
        if content["run_key"] == run_key:
            folder = root / "stages" / "evaluate" / content["parts"]["inputs"]["evaluate"]
            if is_sealed(folder):
                return folder
    raise ConfigError(f"the scores of {wanted!r} (run key {run_key}) are not in {str(root)!r}; run its recipe again")


def scores(first: Path, second: Path) -> dict[str, dict[str, Any]]:
    """Metric -> the scores of both and, where both were asked the same prompts, the paired difference B - A."""
    import numpy as np

    from mmgen.evaluation.bootstrap import difference_interval

    a, b = read_json(first / "metrics.json"), read_json(second / "metrics.json")
    each_a, each_b = read_json(first / "scores.json"), read_json(second / "scores.json")
    same = read_json(first / SEAL)["data_version"] == read_json(second / SEAL)["data_version"]
    rows: dict[str, dict[str, Any]] = {}
    for name in sorted(a.keys() | b.keys()):
        rows[name] = {"a": a.get(name), "b": b.get(name), "difference": None}
        paired = same and name in each_a and name in each_b and len(each_a[name]) == len(each_b[name])
        if paired:
            found = difference_interval(each_b[name], each_a[name], np.random.default_rng(0))
            rows[name]["difference"] = found._asdict()
    return rows


def table(rows: dict[str, dict[str, Any]], names: tuple[str, str]) -> list[tuple[str, ...]]:
    """The comparison for a terminal; a difference whose interval leaves out zero is marked with a star."""
    lines = [("score", *names, "difference (95 %)")]
    for name, row in rows.items():
        found = row["difference"]
        star = " *" if found and (found["low"] > 0 or found["high"] < 0) else ""
        difference = f"{found['value']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}]{star}" if found else ""
        lines.append((name, _cell(row["a"]), _cell(row["b"]), difference))
    return lines


def side_by_side(first: Path, second: Path, names: tuple[str, str], out: Path) -> None:
    """Write the contact sheets that both have, one row a section of the report, left A, right B.

    Raises:
        ConfigError: they have none in common.
    """
    import numpy as np

    from mmgen.modalities import image

    sections = [read_json(folder / "examples.json")["sections"] for folder in (first, second)]
    others = {section["sheet"] for section in sections[1]}
    grids = [section["sheet"] for section in sections[0] if section["sheet"] in others]
    if not grids:
        raise ConfigError(f"{names[0]!r} and {names[1]!r} were asked for different things; compare runs of one task")
    pairs = [
        tuple(image.read((folder / grid).read_bytes(), str(folder / grid)) for folder in (first, second))
        for grid in grids
    ]
    height = sum(max(picture.shape[0] for picture in pair) + MARGIN for pair in pairs) + MARGIN
    widths = [max(pair[side].shape[1] for pair in pairs) for side in (0, 1)]
    page = np.full((height, sum(widths) + 3 * MARGIN, 3), 255, np.uint8)
    top = MARGIN
    for pair in pairs:
        for picture, left in zip(pair, (MARGIN, widths[0] + 2 * MARGIN), strict=True):
            page[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
        top += max(picture.shape[0] for picture in pair) + MARGIN
    image.write(page, out)


def _cell(score: dict[str, float] | None) -> str:
    return f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]" if score else "-"
