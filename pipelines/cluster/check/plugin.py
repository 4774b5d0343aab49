"""Kubeflow's own MLflow plugin: is it at work, and does our pipeline leave it the variables that it writes?

The API server tells nobody whether the plugin is on; a run that it has served carries its output. With its setting
`injectUserEnvVars` it writes values into the containers of tasks, and a variable of the same name that comes from a
ConfigMap or a Secret makes every pod of the run invalid.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.cluster.check.findings import Finding, good, missing
from pipelines.cluster.profiles import OF_THE_PLUGIN

LOOK = "kubectl -n kubeflow get configmaps,deployments -o yaml | grep -A9 plugins.mlflow"


def plugin(profile: str, runs: Sequence[Mapping[str, Any]] | None) -> Iterator[Finding]:
    """The pipeline of a profile beside the plugin, and what the newest runs say of it.

    Args:
        runs: as the v2beta1 API lists them; None where it could not be asked.
    """
    from pipelines.cluster.compile import compiled

    what = "Kubeflow's MLflow plugin"
    if clashing := clashes(compiled(profile=profile)):
        yield missing(
            what,
            f"the pipeline takes {', '.join(clashing)} from a ConfigMap or Secret, and the plugin writes a value too",
            f"give it another name in pipelines/cluster/profiles.py, one that does not begin with {OF_THE_PLUGIN}",
        )
        return
    if any("mlflow" in (run.get("plugins_output") or {}) for run in runs or []):
        yield good(what, "is on, and the pipeline takes no variable that it writes")
    else:
        yield good(
            what, f"the pipeline takes no variable that it writes; whether it is on only a run or this shows: {LOOK}"
        )


def clashes(pipeline: bytes) -> list[str]:
    """Variables of a compiled pipeline that come from a ConfigMap or a Secret and that the plugin may write."""
    import yaml

    found = set()
    for document in yaml.safe_load_all(pipeline):
        platforms = document.get("platforms") or {}
        executors = platforms.get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
        for executor in executors.values():
            for source in [*executor.get("configMapAsEnv", []), *executor.get("secretAsEnv", [])]:
                found |= {pair["envVar"] for pair in source["keyToEnv"]}
    return sorted(name for name in found if name.startswith(OF_THE_PLUGIN))
