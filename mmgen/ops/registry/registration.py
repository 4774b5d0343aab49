"""Registration: a run's model becomes a version, and gets the name that the gate's verdict gives it.

A version is made once per run key and weights. The gate has judged before anything gets here, so registration only
records its verdict and moves the names, if the champion is still the one that the verdict was about.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmgen.files import write_json
from mmgen.ops.registry.candidate import candidate
from mmgen.ops.registry.champions import NOBODY, move
from mmgen.ops.registry.packaging import log_model
from mmgen.ops.registry.registry import AWAITING, ModelVersion, model_name, version_of
from mmgen.ops.runs.ledger import cost
from mmgen.ops.tracking.client import connected, pages, tracking_uri
from mmgen.ops.tracking.concurrent_writes import again
from mmgen.ops.tracking.stage_run import run_tags
from mmgen.ops.tracking.tracked import Tracked, model_sha256

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion as Entry

    from mmgen.ops.runs.run import Run

LINEAGE = ("mmgen.run_key", "mmgen.data_version", "mmgen.git_commit", "mmgen.kfp_run_id", "mmgen.model_sha256")
"""Tags of a version that say where it comes from; whatever else says so must agree, as `lineage_check` finds out."""

SETTLED = "mmgen.settled"
"""Tag that says that a version's names were moved: a killed registration is finished by the next one, and a
later one does not undo what was promoted since."""


def register(run: Run, tracked: Tracked, out: Path, *, kfp_run_id: str = "", promoting: bool = True) -> ModelVersion:
    """Register the model that the run trained, under the names that the gate's verdict gives it.

    Writes `model.json` into `out`: name, version, aliases, uri, decision, path of the model, and where it comes from.
    Unless `promoting`, the version is a challenger whatever the verdict; a promotion waits for a person's `promote`.

    Raises:
        ConfigError: the model's name cannot be one.
        StorageError: the model's or the verdict's folder is not whole, or not this run's.
        OutrunError: the champion is no longer the one that the gate compared with.
        TrackingError: the registry cannot be used.
    """
    model, verdict = candidate(run)
    said = verdict["decision"] if promoting or verdict["decision"] != "promote" else AWAITING
    name = model_name(run.recipe)
    tags = {
        **run_tags(run, kfp_run_id),
        "mmgen.mlflow_run_id": tracked.parent_id,
        "mmgen.model_sha256": model_sha256(model),
        "mmgen.train_key": run.keys.stages["train"],
        "mmgen.validate_key": run.keys.stages["validate"],
        "mmgen.verdict": said,
        **{f"mmgen.cost.{what}": str(value) for what, value in cost(run).figures().items()},
    }
    with connected(tracking_uri(run.root)) as client:
        _ensure_model(client, name)
        entry = _same(client, name, tags) or _create(client, name, model, tags, tracked, verdict)
        if SETTLED not in entry.tags:
            again(client.set_model_version_tag, name, str(entry.version), "mmgen.verdict", said)
            if said == "promote":
                reason = "; ".join(verdict["reasons"])[:1000]
                move(run.root, name, str(entry.version), "gate", reason, expected=verdict["champion"] or NOBODY)
            else:
                again(client.set_registered_model_alias, name, "challenger", str(entry.version))
            again(client.set_model_version_tag, name, str(entry.version), SETTLED, "true")
        version = version_of(client, name, str(entry.version))
    content = {"name": name, "version": version.version, "aliases": list(version.aliases), "uri": version.uri}
    facts = {tag.removeprefix("mmgen."): version.tags[tag] for tag in LINEAGE if tag in version.tags}
    write_json(out / "model.json", {**content, **facts, "decision": verdict["decision"], "path": str(model)})
    return version


def _ensure_model(client: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _same(client: MlflowClient, name: str, tags: dict[str, str]) -> Entry | None:
    """The version of the same run with the same weights: registration happens once."""
    query = f"name = '{name}' and tags.`mmgen.run_key` = '{tags['mmgen.run_key']}'"
    found = pages(client.search_model_versions, query)
    same = [entry for entry in found if entry.tags.get("mmgen.model_sha256") == tags["mmgen.model_sha256"]]
    return min(same, key=lambda entry: int(entry.version), default=None)


def _create(
    client: MlflowClient, name: str, model: Path, tags: dict[str, str], tracked: Tracked, verdict: dict[str, Any]
) -> Entry:
    logged = log_model(client, name, model, tags, tracked)
    create = functools.partial(
        client.create_model_version,
        name,
        source=logged.artifact_location,  # by its "models:/" name the SQL store would look in another database
        run_id=tracked.run_id,
        tags=tags,
        description="\n".join([f"Gate: {verdict['decision']}", *verdict["reasons"]])[:4000],
        model_id=logged.model_id,
    )
    return again(create)
