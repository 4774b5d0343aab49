"""The model registry: versions with their lineage, and who is champion.

    champion     the version that applications load: models:/mmgen-emoji@champion
    challenger   the newest version that the gate did not promote
    previous     the champion before this one; `rollback` brings it back

A version is made once per run key and weights. The gate has judged before anything gets here, so registration
only records its verdict and moves the names.
"""

from __future__ import annotations

import datetime
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmgen.errors import ConfigError, StorageError, TrackingError
from mmgen.files import open_sealed, read_json, write_json
from mmgen.ops.mlflow_client import connected, pages, tracking_uri
from mmgen.ops.packaging import log_model
from mmgen.ops.tracking import Tracked, model_sha256, run_tags
from mmgen.recipes import Recipe, on_own_data

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion as Entry

    from mmgen.ops.stages import Run

SETTLED = "mmgen.settled"
"""Tag that says that a version's names were moved: a killed registration is finished by the next one, and a
later one does not undo what was promoted since."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelVersion:
    """A registered model."""

    name: str
    version: str
    aliases: tuple[str, ...]
    created: str
    """UTC, such as 2026-11-23T08:00:00Z."""
    tags: dict[str, str] = field(repr=False)

    @property
    def uri(self) -> str:
        """For `mlflow.pyfunc.load_model`."""
        return f"models:/{self.name}/{self.version}"


def model_name(recipe: Recipe) -> str:
    """Name of a recipe's model in the registry; on data other than the recipe's own it has a champion of its own."""
    return f"mmgen-{recipe.name}" if on_own_data(recipe) else f"mmgen-{recipe.name}-on-{recipe.data.name}"


def register(run: Run, tracked: Tracked, out: Path, *, kfp_run_id: str = "") -> ModelVersion:
    """Register the model that the run trained, under the names that the gate's verdict gives it.

    Writes `model.json` into `out`: name, version, aliases, uri, decision, path of the model.

    Raises:
        StorageError: the model's or the verdict's folder is not whole.
        TrackingError: the registry cannot be used, or somebody else promoted at the same moment.
    """
    for stage in ("train", "gate"):
        open_sealed(run.folder(stage))
    model = run.folder("train") / "model"
    verdict = read_json(run.folder("gate") / "verdict.json")
    name = model_name(run.recipe)
    tags = {
        **run_tags(run, kfp_run_id),
        "mmgen.mlflow_run_id": tracked.parent_id,
        "mmgen.model_sha256": model_sha256(model),
        "mmgen.recipe": run.recipe.name,
        "mmgen.train_key": run.keys.stages["train"],
        "mmgen.verdict": verdict["decision"],
    }
    with connected(tracking_uri(run.root)) as client:
        _ensure_model(client, name)
        entry = _same(client, name, tags) or _create(client, name, model, tags, tracked, verdict)
        if SETTLED not in entry.tags:
            if verdict["decision"] == "promote":
                _promote(client, name, str(entry.version))
            else:
                _set_alias(client, name, "challenger", str(entry.version))
            client.set_model_version_tag(name, str(entry.version), SETTLED, "true")
        version = _version(client, name, str(entry.version))
    content = {"name": name, "version": version.version, "aliases": list(version.aliases), "uri": version.uri}
    write_json(out / "model.json", {**content, "decision": verdict["decision"], "path": str(model)})
    return version


def champion(root: Path, name: str) -> tuple[ModelVersion, Path] | None:
    """The champion and a local folder with its model; None when there is none.

    Raises:
        StorageError: its files are not those that were registered.
        TrackingError: the registry cannot be used.
    """
    with connected(tracking_uri(root)) as client:
        holder = _holder(client, name, "champion")
        return (_version(client, name, holder), fetch(root, name, holder)) if holder else None


def fetch(root: Path, name: str, version: str) -> Path:
    """Local folder with the model of a version: the stage that made it, else a checked download.

    Raises:
        ConfigError: no such version.
        StorageError: the files are not those that were registered.
    """
    uri = tracking_uri(root)
    with connected(uri) as client:
        wanted = _version(client, name, version)
        sha256 = wanted.tags.get("mmgen.model_sha256", "")
        for folder in (
            root / "stages" / "train" / wanted.tags.get("mmgen.train_key", "none") / "model",
            root / "models" / name / version,
        ):
            if folder.is_dir() and model_sha256(folder) == sha256:
                return folder
        import mlflow.artifacts

        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as scratch:
            source = f"{client.get_model_version_download_uri(name, version)}/artifacts"
            loaded = Path(mlflow.artifacts.download_artifacts(source, dst_path=scratch, tracking_uri=uri)) / "model"
            if (found := model_sha256(loaded)) != sha256:
                raise StorageError(
                    f"{wanted.uri} has sha256 {found[:12]}, registered as {sha256[:12]}: it was altered; "
                    "promote another version"
                )
            shutil.rmtree(folder, ignore_errors=True)
            loaded.replace(folder)
    return folder


def promote(root: Path, name: str, version: str) -> ModelVersion:
    """Make `version` the champion; the champion of now becomes `previous`.

    Raises:
        ConfigError: no such version.
        TrackingError: the registry cannot be used, or somebody else promoted at the same moment.
    """
    with connected(tracking_uri(root)) as client:
        _version(client, name, version)
        _promote(client, name, version)
        return _version(client, name, version)


def rollback(root: Path, name: str) -> ModelVersion:
    """Make the previous champion the champion again.

    Raises:
        ConfigError: there is no previous champion.
        TrackingError: as for `promote`.
    """
    with connected(tracking_uri(root)) as client:
        version = _holder(client, name, "previous")
        if version is None:
            raise ConfigError(f"{name} has no previous champion to go back to; see: mmgen history")
        _promote(client, name, version)
        return _version(client, name, version)


def history(root: Path, name: str) -> list[ModelVersion]:
    """All versions, newest first.

    Raises:
        TrackingError: the registry cannot be used.
    """
    with connected(tracking_uri(root)) as client:
        entries = pages(client.search_model_versions, f"name = '{name}'")
        versions = [_version(client, name, str(entry.version)) for entry in entries]
    return sorted(versions, key=lambda version: int(version.version), reverse=True)


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
    return client.create_model_version(
        name,
        source=logged.artifact_location,  # by its "models:/" name the SQL store would look in another database
        run_id=tracked.run_id,
        tags=tags,
        description="\n".join([f"Gate: {verdict['decision']}", *verdict["reasons"]])[:4000],
        model_id=logged.model_id,
    )


def _holder(client: MlflowClient, name: str, alias: str) -> str | None:
    """Version that holds an alias."""
    from mlflow.exceptions import MlflowException

    try:
        return str(client.get_model_version_by_alias(name, alias).version)
    except MlflowException as error:
        # The SQL store calls an alias that is not set an invalid parameter.
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def _version(client: MlflowClient, name: str, version: str) -> ModelVersion:
    from mlflow.exceptions import MlflowException

    try:
        entry = client.get_model_version(name, version)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise ConfigError(f"{name} has no version {version!r}; see: mmgen history") from error
    created = datetime.datetime.fromtimestamp(entry.creation_timestamp / 1000, datetime.UTC)
    return ModelVersion(
        name=name,
        version=str(entry.version),
        aliases=tuple(sorted(entry.aliases)),
        created=created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        tags=dict(entry.tags),
    )


def _promote(client: MlflowClient, name: str, version: str) -> None:
    before = _holder(client, name, "champion")
    if before == version:
        return
    if before is not None:
        _set_alias(client, name, "previous", before)
    _set_alias(client, name, "champion", version)
    if _holder(client, name, "challenger") == version:
        client.delete_registered_model_alias(name, "challenger")


def _set_alias(client: MlflowClient, name: str, alias: str, version: str) -> None:
    """Set and read back: the registry lets the last writer win without a word to the other."""
    client.set_registered_model_alias(name, alias, version)
    if (holder := _holder(client, name, alias)) != version:
        raise TrackingError(
            f"{name}@{alias} is version {holder}, not {version}: somebody else set it at the same moment; "
            "look at mmgen history and promote again"
        )
