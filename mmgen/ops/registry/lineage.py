"""Lineage: from any id of a run to all the others.

Ids are: git commit, data version, KFP run, MLflow run (of the run or of one of its stages), model version
("mmgen-emoji/3", or "3" when only one model has it), run key. Beginnings of six characters or more will do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmgen.errors import ConfigError
from mmgen.ops.tracking.client import connected, pages, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

SHORTEST = 6
"""Characters below which a beginning says too little."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lineage:
    """The six ids of one run; empty where there is none."""

    git_commit: str
    git_dirty: bool
    data_version: str
    kfp_run_id: str
    mlflow_run_id: str
    model_version: str
    run_key: str
    stage_runs: tuple[str, ...] = field(repr=False)
    """MLflow runs of its stages."""

    def answers(self, wanted: str) -> bool:
        """Whether `wanted` is one of the ids, or the beginning of one."""
        if wanted and wanted in (self.model_version, self.model_version.rpartition("/")[2]):
            return True
        ids = (self.git_commit, self.data_version, self.kfp_run_id, self.mlflow_run_id, self.run_key)
        return len(wanted) >= SHORTEST and any(known.startswith(wanted) for known in (*ids, *self.stage_runs))


def lineage(root: Path, wanted: str) -> Lineage:
    """The run that `wanted` belongs to.

    Raises:
        ConfigError: no run has such an id, or more than one has.
        TrackingError: MLflow cannot be used.
    """
    with connected(tracking_uri(root)) as client:
        known = _known(client)
    found = [entry for entry in known if entry.answers(wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(entry.model_version or f"run key {entry.run_key}" for entry in found[:8])
        raise ConfigError(f"{wanted!r} belongs to {len(found)} runs; name one of them: {names}")
    if len(wanted) < SHORTEST and not wanted.isdecimal():
        raise ConfigError(f"{wanted!r} is too short for the beginning of an id; give {SHORTEST} characters or more")
    raise ConfigError(
        f"no run has the id {wanted!r}; give a git commit, data version, KFP run, MLflow run, run key, "
        "or a model version such as mmgen-emoji/3 (see: mmgen history)"
    )


def _known(client: MlflowClient) -> list[Lineage]:
    """Every run that MLflow holds, once for each version that was registered from it."""
    versions: dict[str, list[Any]] = {}
    for entry in pages(client.search_model_versions, "name LIKE 'mmgen-%'"):
        versions.setdefault(entry.tags.get("mmgen.run_key", ""), []).append(entry)
    # Everywhere: with Kubeflow's MLflow plugin the runs of stages stand in its own experiment.
    experiments = [entry.experiment_id for entry in pages(client.search_experiments)]
    parents: dict[str, Any] = {}
    children: dict[str, list[str]] = {}
    for run in pages(client.search_runs, experiments, "tags.`mmgen.run_key` LIKE '%'") if experiments else []:
        key = run.data.tags.get("mmgen.run_key", "")
        if run.data.tags.get("mmgen.stage") == "all":
            parents[key] = run
        else:
            children.setdefault(key, []).append(str(run.info.run_id))
    found = []
    for key in sorted((parents.keys() | versions.keys()) - {""}):
        run_id = str(parents[key].info.run_id) if key in parents else ""
        tags = dict(parents[key].data.tags) if key in parents else {}
        for entry in versions.get(key, [None]):
            tags_here = {**tags, **(entry.tags if entry else {})}
            found.append(
                Lineage(
                    git_commit=tags_here.get("mmgen.git_commit", ""),
                    git_dirty=tags_here.get("mmgen.git_dirty") == "true",
                    data_version=tags_here.get("mmgen.data_version", ""),
                    kfp_run_id=tags_here.get("mmgen.kfp_run_id", ""),
                    mlflow_run_id=run_id or tags_here.get("mmgen.mlflow_run_id", ""),
                    model_version=f"{entry.name}/{entry.version}" if entry else "",
                    run_key=key,
                    stage_runs=tuple(children.get(key, ())),
                )
            )
    return found
