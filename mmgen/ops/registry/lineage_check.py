"""Do all places that say where a model comes from say the same?

the version's tags in the registry      held against each of the others
the MLflow run                          its tags
the registered model                    its own seal, in the artifact store
the log of promotions                   run key and sha256 of each move; its last one is the champion
Kubeflow's artifacts                    metadata of the task `register`, where its folder is on this machine
the training stage                      the bytes of its model, where its folder is below the root
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmgen.errors import StorageError
from mmgen.files import SEAL
from mmgen.ops.registry import promotions
from mmgen.ops.registry.registration import LINEAGE
from mmgen.ops.registry.registry import ModelVersion, holder, version_of
from mmgen.ops.storage.exclusive import shelf
from mmgen.ops.tracking.client import connected, pages, tracking_uri
from mmgen.ops.tracking.tracked import model_sha256

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(kw_only=True, slots=True)
class Checked:
    """What was compared."""

    places: Counter[str] = field(default_factory=Counter)
    """Comparisons made, by place."""
    disagreements: list[str] = field(default_factory=list)
    """A line each."""


def check(root: Path) -> Checked:
    """Compare every version of every model of ours.

    Raises:
        TrackingError: MLflow cannot be used.
    """
    found = Checked()
    kubeflow = list(_kubeflow(root))
    with connected(tracking_uri(root)) as client:
        entries = list(pages(client.search_model_versions, "name LIKE 'mmgen-%'"))
        versions = [version_of(client, entry.name, str(entry.version)) for entry in entries]
        for version in versions:
            _compare(found, "MLflow run", version, _run_tags(client, version))
            _compare(found, "registered model", version, _registered_seal(client, version, tracking_uri(root)))
            for facts in kubeflow:
                if (facts.get("name"), facts.get("version")) == (version.name, version.version):
                    tags = {f"mmgen.{name}": str(value) for name, value in facts.items()}
                    _compare(found, "Kubeflow artifact", version, tags)
            model = root / "stages" / "train" / version.tags.get("mmgen.train_key", "none") / "model"
            if model.is_dir():
                _compare(found, "training stage", version, {"mmgen.model_sha256": model_sha256(model)})
        for name in sorted({version.name for version in versions}):
            _check_log(found, client, root, name, {entry.version: entry for entry in versions if entry.name == name})
    return found


def _compare(found: Checked, place: str, version: ModelVersion, said: Mapping[str, str] | None) -> None:
    found.places[place] += 1
    if said is None:
        found.disagreements.append(f"{version.name}/{version.version}: its {place} is gone")
        return
    for tag in LINEAGE:
        ours, theirs = version.tags.get(tag, ""), said.get(tag)
        if theirs is not None and theirs != ours:
            found.disagreements.append(
                f"{version.name}/{version.version}: {tag.removeprefix('mmgen.')} is {ours or 'missing'} by the "
                f"version's tags, {theirs} by its {place}"
            )


def _run_tags(client: MlflowClient, version: ModelVersion) -> Mapping[str, str] | None:
    from mlflow.exceptions import MlflowException

    try:
        tags: dict[str, str] = client.get_run(version.tags.get("mmgen.mlflow_run_id", "")).data.tags
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return None
    return tags


def _registered_seal(client: MlflowClient, version: ModelVersion, uri: str) -> Mapping[str, str] | None:
    import mlflow.artifacts
    from mlflow.exceptions import MlflowException

    source = f"{client.get_model_version_download_uri(version.name, version.version)}/artifacts/model/{SEAL}"
    try:
        content: dict[str, str] = json.loads(
            Path(mlflow.artifacts.download_artifacts(source, tracking_uri=uri)).read_bytes()
        )
    except (MlflowException, OSError, ValueError):
        return None
    return content


def _kubeflow(root: Path) -> Iterator[dict[str, Any]]:
    """Metadata of the artifact `version` of each run whose folder KFP's local runner left below the root."""
    for path in sorted((root / "kfp").glob("*/*/register/executor_output.json")):
        try:
            yield json.loads(path.read_bytes())["artifacts"]["version"]["artifacts"][0]["metadata"]
        except (OSError, ValueError, KeyError, IndexError, TypeError):  # a run that was killed just then
            continue


def _check_log(
    found: Checked, client: MlflowClient, root: Path, name: str, versions: Mapping[str, ModelVersion]
) -> None:
    try:
        known = promotions.moves(shelf(root), name)
    except StorageError as error:
        found.disagreements.append(str(error))
        return
    for move in known:
        if move.version in versions:
            said = {"mmgen.run_key": move.run_key, "mmgen.model_sha256": move.model_sha256}
            _compare(found, "promotion", versions[move.version], said)
        else:
            found.disagreements.append(f"{name}/{move.version}: promoted by move {move.number}, not in the registry")
    champion = holder(client, name, "champion")
    if known and champion != known[-1].version:
        found.disagreements.append(
            f"{name}: the registry's champion is {champion or 'nobody'}, by the log of promotions {known[-1].version}"
        )
