"""From a trained model's folder to what it was made by and judged by, as the seals of the stages say."""

from __future__ import annotations

from pathlib import Path

from mmgen.files import SEAL, is_sealed, read_json
from mmgen.recipes import Recipe, get
from pipelines.choices import chosen


def recipe_of(model: Path, recipe: str | None) -> Recipe:
    """The recipe and data that a model folder was trained by; without a seal, those that the user names.

    Args:
        model: folder of a model, inside its stage or alone.
        recipe: `RECIPE[@DATA]`, or None for the default one.
    """
    seal = model.parent / SEAL
    if seal.is_file():
        content = read_json(seal)
        data = {name: content["parts"]["settings"][f"data.{name}"] for name in ("name", "languages")}
        return get(content["recipe"], [f"data.name={data['name']}", f"data.languages={','.join(data['languages'])}"])
    name, at, other = (recipe or "").partition("@")
    return get(*chosen(name or None, (f"data.name={other}",) if at else ()))


def evaluation_of(model: Path, root: Path) -> tuple[Path | None, Path | None]:
    """The newest sealed evaluation of a model in a training stage, and the judge behind it; None for what is gone."""
    stages = root / "stages"
    seals = sorted(stages.glob(f"evaluate/*/{SEAL}"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for seal in seals:
        parts = read_json(seal)["parts"]
        # Scores on another data set (`on`) are not the model's own.
        if parts["inputs"]["train"] == model.parent.name and "on" not in parts and is_sealed(seal.parent):
            judge = stages / "judge" / parts["inputs"]["judge"]
            return seal.parent, judge if is_sealed(judge) else None
    return None, None
