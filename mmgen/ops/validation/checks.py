"""Stage `validate`: hold a data set against the expectations; nothing trains on one that fails them.

Writes `validation.json` (the verdict, for machines) and `validation.html` (the same for people). A bad training
sample may be set aside while the recipe's budget `data.quarantine` lasts; it is listed in both. Everything else
that is wrong stops the run.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mmgen.data.changes.profile import profile
from mmgen.data.dataset import CARD, Dataset, data_version, load
from mmgen.data.limits import GROUP_MINIMUM, SPLIT_MINIMUM
from mmgen.data.shards import Sample, read_shard
from mmgen.errors import ConfigError, DataError, unknown
from mmgen.files import write_bytes, write_json
from mmgen.modalities import image, media
from mmgen.ops.validation.expectations import Outcome, hold, open_context, rules
from mmgen.ops.validation.page import render
from mmgen.ops.validation.tables import Row, describe, relate, words
from mmgen.recipes import Recipe

LISTED = 200
"""Bad rows of one expectation that the verdict lists; it always counts them all."""
THUMBNAILS = 60
PROFILE = "profile.json"
"""What the next data sets are held against (`mmgen.ops.stages.drift`)."""


def validate(dataset_folder: Path, recipe: Recipe, out: Path) -> dict[str, Any]:
    """Validate a data set; write and return the verdict.

    Args:
        dataset_folder: holds `dataset.json` and its shards.
        recipe: its `data` part names the caption languages and the budget for bad samples.
        out: gets `validation.json` and `validation.html`, also when the data set is refused, else `profile.json`.

    Raises:
        DataError: an expectation failed; the message names the first one and up to five rows.
        ConfigError: the recipe wants captions in a language that the data set does not list.
    """
    import pandas as pd

    dataset, files = _open(dataset_folder)
    modalities = dataset.card.modalities if dataset is not None else []
    suite = rules(recipe.data.languages, modalities)
    if dataset is not None and "text" in modalities:
        for language in recipe.data.languages:
            if language not in dataset.card.languages:
                raise ConfigError(unknown("caption language", language, dataset.card.languages))
    samples = _read(dataset, files) if dataset is not None else []
    rows = [describe(split, sample, recipe.data.languages, modalities) for split, sample in samples]

    context = open_context()
    outcomes = hold(context, "files", pd.DataFrame(files), suite)
    outcomes += hold(context, "licences", pd.DataFrame(_licences(dataset)), suite)
    judged = hold(context, "rows", pd.DataFrame(rows).drop(columns=["content", "thumbnail"], errors="ignore"), suite)
    aside = _set_aside(judged, rows, recipe.data.quarantine)
    kept = [row for row in rows if row["row"] not in aside]
    outcomes += judged
    outcomes += hold(context, "relations", pd.DataFrame(relate(kept)), suite)
    outcomes += hold(context, "counts", pd.DataFrame(_counts(kept, dataset)), suite)

    verdict = _verdict(outcomes, aside, kept, len(rows))
    verdict["data"] = _about(dataset_folder, dataset, intact=all(row["problem"] is None for row in files))
    write_json(out / "validation.json", verdict)
    if verdict["success"]:
        write_json(out / PROFILE, profile(kept, recipe.data.languages[0]))
    write_bytes(
        out / "validation.html",
        render(verdict, _thumbnails(verdict, samples, modalities)).encode(errors="xmlcharrefreplace"),
    )
    if not verdict["success"]:
        raise DataError(f"{str(dataset_folder)!r} refused: {_first_failure(verdict)}; see {out / 'validation.html'}")
    return verdict


def _open(folder: Path) -> tuple[Dataset | None, list[Row]]:
    """The data set, or None when its card cannot be read; and the card as a row of `files`."""
    try:
        return load(folder), [{"row": CARD, "problem": None}]
    except DataError as error:
        return None, [{"row": CARD, "problem": str(error)}]


def _read(dataset: Dataset, files: list[Row]) -> list[tuple[str, Sample]]:
    """Every sample of every shard that is intact, `train` first; what is wrong with the others goes to `files`."""
    samples = []
    for split in sorted(dataset.card.splits, key=lambda name: (name != "train", name)):
        for shard in dataset.card.splits[split]:
            problem = None
            try:
                samples += [(split, sample) for sample in read_shard(dataset.folder / shard.file, shard)]
            except DataError as error:
                problem = str(error)
            files.append({"row": shard.file, "problem": problem})
    known = {row["row"] for row in files}
    strange = sorted(path.name for path in dataset.folder.iterdir() if path.name not in known)
    files += [{"row": name, "problem": f"{name!r} is not on the card; remove it"} for name in strange]
    return samples


def _licences(dataset: Dataset | None) -> list[Row]:
    if dataset is None:
        return []
    parts: list[dict[str, str]] = dataset.card.licences or [{}]
    return [
        {"row": words(part.get("what")) or CARD, "url": part.get("url") or None}
        | {name: words(part.get(name)) for name in ("licence", "credit")}
        for part in parts
    ]


def _set_aside(outcomes: Iterable[Outcome], rows: Sequence[Row], budget: float) -> dict[str, str]:
    """Bad training rows with their reasons, when there are no more of them than the budget allows."""
    bad: dict[str, list[str]] = defaultdict(list)
    for outcome in outcomes:
        for row, reason in outcome.rows.items():
            if row.startswith("train/"):
                bad[row].append(f"{outcome.rule.name}: {reason}")
    allowed = budget * sum(row["split"] == "train" for row in rows)
    return {row: "; ".join(reasons) for row, reasons in bad.items()} if len(bad) <= allowed else {}


def _counts(rows: Sequence[Row], dataset: Dataset | None) -> list[Row]:
    if dataset is None:
        return []
    splits = Counter(row["split"] for row in rows)
    groups = Counter(row["group"] for row in rows if row["split"] == "train")
    wanted = {split: (splits[split], SPLIT_MINIMUM) for split in ["train", *dataset.card.splits]}
    wanted |= {f"train: {group}": (groups[group], GROUP_MINIMUM) for group in _groups(rows)}
    return [
        {"row": name, "problem": None if count >= least else f"{count} samples; want at least {least}"}
        for name, (count, least) in wanted.items()
    ]


def _groups(rows: Iterable[Row]) -> list[str]:
    return sorted({row["group"] for row in rows if row["group"] is not None})


def _verdict(outcomes: Sequence[Outcome], aside: dict[str, str], kept: Sequence[Row], total: int) -> dict[str, Any]:
    expectations = []
    for outcome in outcomes:
        listed = list(outcome.rows)[:LISTED]
        expectations.append(
            {
                "name": outcome.rule.name,
                "says": outcome.rule.says,
                "success": outcome.rows.keys() <= aside.keys(),
                "unexpected": len(outcome.rows),
                "rows": listed,
                "reasons": [outcome.rows[row] for row in listed],
            }
        )
    counts = Counter((row["split"], row["group"] or "no group") for row in kept)
    groups: dict[str, dict[str, int]] = defaultdict(dict)
    for (split, group), count in sorted(counts.items()):
        groups[split][group] = count
    return {
        "success": all(item["success"] for item in expectations),
        "samples": total,
        "groups": dict(groups),
        "expectations": expectations,
        "quarantined": [
            {"key": row.partition("/")[2], "split": row.partition("/")[0], "reason": reason}
            for row, reason in aside.items()
        ],
    }


def _about(folder: Path, dataset: Dataset | None, *, intact: bool) -> dict[str, Any]:
    """What the page's head says; a folder that was altered has no version."""
    if dataset is None:
        return {"name": folder.name, "title": "", "version": "", "licences": []}
    card, version = dataset.card, data_version(folder) if intact else ""
    return {"name": card.name, "title": card.title, "version": version, "licences": card.licences}


def _first_failure(verdict: dict[str, Any]) -> str:
    failed = [item for item in verdict["expectations"] if not item["success"]]
    first = failed[0]
    rows = ", ".join(first["rows"][:5]) + (", ..." if first["unexpected"] > 5 else "")
    more = f"; {len(failed) - 1} more failed" if len(failed) > 1 else ""
    return f"{first['name']} failed for {first['unexpected']} ({rows}: {first['reasons'][0]}){more}"


def _thumbnails(
    verdict: dict[str, Any], samples: Iterable[tuple[str, Sample]], modalities: Sequence[str]
) -> dict[str, bytes]:
    """Small PNGs of the listed bad rows, as far as their pictures can be decoded at all."""
    wanted = {row for item in verdict["expectations"] for row in item["rows"]}
    found: dict[str, bytes] = {}
    seen = {ending: media.module(name) for name in modalities if name != "text" for ending in media.endings(name)}
    for split, sample in samples:
        row = f"{split}/{sample.key}"
        ending = next((ending for ending in sample.parts if ending in seen), None)
        if row not in wanted or ending is None or len(found) >= THUMBNAILS:
            continue
        try:
            value = seen[ending].read(sample.parts[ending], row)
            found[row] = image.encode(image.resize(seen[ending].picture(value), 72))
        except DataError:
            continue  # the page says why beside an empty frame
    return found
