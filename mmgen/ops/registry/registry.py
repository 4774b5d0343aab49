"""The model registry: versions with their lineage, and who is champion.

    champion     the version that applications load: models:/mmgen-emoji@champion
    challenger   the newest version that the gate did not promote
    previous     the champion before this one; `rollback` brings it back

Names move in `champions`, versions are made in `registration`; here they are read.
"""

from __future__ import annotations

import datetime
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mmgen.errors import ConfigError, StorageError
from mmgen.ops.registry.candidate import plain_name
from mmgen.ops.runs.cache import sealed_output
from mmgen.ops.tracking.client import connected, pages, tracking_uri
from mmgen.ops.tracking.tracked import model_sha256
from mmgen.recipes import Recipe, on_own_data

if TYPE_CHECKING:
    from mlflow import MlflowClient


AWAITING = "promote, awaiting approval"
"""Verdict of a version that the gate would promote and that only a person may."""


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
    return plain_name(f"mmgen-{recipe.name}" if on_own_data(recipe) else f"mmgen-{recipe.name}-on-{recipe.data.name}")


def champion_version(root: Path, name: str) -> ModelVersion | None:
    """The champion, its files left alone; None when there is none.

    Raises:
        TrackingError: the registry cannot be used.
    """
    with connected(tracking_uri(root)) as client:
        version = holder(client, name, "champion")
        return version_of(client, name, version) if version else None


def champion(root: Path, name: str) -> tuple[ModelVersion, Path] | None:
    """The champion and a local folder with its model; None when there is none.

    Raises:
        StorageError: its files are not those that were registered.
        TrackingError: the registry cannot be used.
    """
    with connected(tracking_uri(root)) as client:
        version = holder(client, name, "champion")
        return (version_of(client, name, version), fetch(root, name, version)) if version else None


def fetch(root: Path, name: str, version: str) -> Path:
    """Local folder with the model of a version: the stage that made it, else a checked download.

    Raises:
        ConfigError: no such version.
        StorageError: the files are not those that were registered.
    """
    uri = tracking_uri(root)
    with connected(uri) as client:
        wanted = version_of(client, name, version)
        sha256 = wanted.tags.get("mmgen.model_sha256", "")
        trained = sealed_output(root, "train", wanted.tags.get("mmgen.train_key", "none"))
        places = [trained / "model"] if trained else []
        for folder in (*places, root / "models" / name / version):
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


def history(root: Path, name: str) -> list[ModelVersion]:
    """All versions, newest first.

    Raises:
        TrackingError: the registry cannot be used.
    """
    with connected(tracking_uri(root)) as client:
        entries = pages(client.search_model_versions, f"name = '{name}'")
        versions = [version_of(client, name, str(entry.version)) for entry in entries]
    return sorted(versions, key=lambda version: int(version.version), reverse=True)


def holder(client: MlflowClient, name: str, alias: str) -> str | None:
    """Version that holds an alias; None when nobody does."""
    from mlflow.exceptions import MlflowException

    try:
        return str(client.get_model_version_by_alias(name, alias).version)
    except MlflowException as error:
        # The SQL store calls an alias that is not set an invalid parameter.
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def version_of(client: MlflowClient, name: str, version: str) -> ModelVersion:
    """A version with its aliases and tags.

    Raises:
        ConfigError: there is none.
    """
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
