"""Data drift: new data held against those that the champion was trained on.

What both look like is in the sealed outputs of stage `validate` (`profile.json`), found by the champion's tags, so the
old data need not be at hand. Bounds stand in `gates.yaml` under `drift`: where there are none, a shift is shown and
nothing is refused; where there are, a shift beyond them, and a champion that cannot be compared with or asked for, stop
the run.
The result lies in `<root>/drift/<run key>/drift.json`, outside of the stage's output: who is champion is not part of
the stage's key.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mmgen.data.changes.profile import MEASURES, shifts, worst_words
from mmgen.errors import DataError, StorageError, TrackingError
from mmgen.files import open_sealed, read_json, write_json
from mmgen.ops.runs.keys import RULES
from mmgen.ops.runs.run import Run
from mmgen.ops.validation.checks import PROFILE


def check(run: Run) -> None:
    """Compare the run's validated data with those of the champion, write what was found.

    Raises:
        DataError: a shift beyond its bound, named with its figures; or bounds and nothing to compare with.
        ConfigError: the rules cannot be read.
        TrackingError: there are bounds, and the registry cannot be used.
    """
    from mmgen.ops.gate.rules import read_rules, section
    from mmgen.ops.registry.registry import champion_version, model_name

    bounds = read_rules(RULES, section(run.recipe)).drift
    try:
        champion = champion_version(run.root, model_name(run.recipe))
    except TrackingError as error:
        if bounds:
            raise
        print(f"mmgen: warning: the data are not held against the champion's: {error}", file=sys.stderr)
        return
    if champion is None or champion.tags.get("mmgen.validate_key") == run.keys.stages["validate"]:
        return
    name = f"champion version {champion.version}"
    try:
        before = _profile(run.root / "stages" / "validate" / champion.tags.get("mmgen.validate_key", "unknown"))
    except StorageError as error:
        problem = f"the data cannot be held against those of {name}: {error}"
        write_json(_file(run), {"problem": problem})
        if bounds:
            raise DataError(
                f"{problem}; run `mmgen data validate` on that data again, or take the bounds out of gates.yaml"
            ) from error
        return
    now = _profile(run.folder("validate"))
    found = shifts(before, now)
    write_json(
        _file(run),
        {
            "champion": champion.version,
            "shifts": found,
            "halves": before["halves"],
            "bounds": bounds,
            "words": worst_words(before, now),
        },
    )
    over = {measure: value for measure, value in found.items() if value > bounds.get(measure, float("inf"))}
    if over:
        said = ", ".join(
            f"{MEASURES[measure]}: {value:.3f}, bound {bounds[measure]:g}" for measure, value in over.items()
        )
        raise DataError(
            f"{str(run.data_folder)!r} refused: the data have shifted from those of {name} ({said}); "
            f"see {_file(run)}; raise the bound under drift in gates.yaml if that is meant"
        )
    if far := [measure for measure, value in found.items() if value > 3 * before["halves"].get(measure, 0) + 0.1]:
        print(f"mmgen: warning: the data have shifted from those of {name} in {', '.join(far)}", file=sys.stderr)


def found(run: Run) -> dict[str, Any]:
    """What `check` wrote; nothing when there was nothing to compare."""
    content: dict[str, Any] = read_json(_file(run)) if _file(run).is_file() else {}
    return content


def _profile(folder: Path) -> dict[str, Any]:
    """The profile in a sealed output of stage `validate`.

    Raises:
        StorageError: there is none.
    """
    open_sealed(folder)
    if not (folder / PROFILE).is_file():
        raise StorageError(f"{str(folder)!r} has no {PROFILE}")
    content: dict[str, Any] = read_json(folder / PROFILE)
    return content


def _file(run: Run) -> Path:
    return run.root / "drift" / run.keys.run_key / "drift.json"
