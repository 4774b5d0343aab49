"""Whether the largest task of the profile fits into the quota and the limits of the namespace."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from mmgen.ops.distributed import trainjob
from pipelines.cluster.check.findings import Finding, good, missing
from pipelines.cluster.check.view import View
from pipelines.cluster.profiles import ACCELERATOR, Resources

UNITS = {
    "": 1.0, "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50, "Ei": 2.0**60,
}  # fmt: skip
LIMITS = "k8s/base/limits.yaml"


def quantity(text: str | float) -> float:
    """A quantity of Kubernetes as a number.

    >>> quantity("250m"), quantity("1Gi"), quantity("1e3")
    (0.25, 1073741824.0, 1000.0)
    """
    number, unit = re.fullmatch(r"([0-9.]+(?:[eE][0-9]+)?)([a-zA-Z]*)", str(text)).groups()  # type: ignore[union-attr]
    return float(number) * UNITS[unit]


def needs(resources: Resources) -> dict[str, str]:
    """What the containers of a task, or of its TrainJob, ask for, by the names that a quota has for it."""
    if resources.nodes > 1:
        gpus = resources.nodes * resources.node_gpus
        if gpus:
            amounts = {"cpu": trainjob.CPUS_OF_GPU * gpus, "memory": trainjob.MEMORY_GIB_OF_GPU * 2**30 * gpus}
        else:
            amounts = {name: resources.nodes * quantity(amount) for name, amount in trainjob.CPU_NODE.items()}
        asked = most = {"cpu": f"{amounts['cpu']:g}", "memory": f"{amounts['memory'] / 2**30:g}Gi"}
    else:
        asked = {"cpu": resources.cpu_request, "memory": resources.memory_request}
        most = {"cpu": resources.cpu_limit, "memory": resources.memory_limit}
        gpus = resources.gpus
    found = {f"requests.{name}": amount for name, amount in asked.items()}
    found |= {f"limits.{name}": amount for name, amount in most.items()}
    return found | ({f"requests.{ACCELERATOR}": str(gpus)} if gpus else {})


def quota(view: View) -> Iterator[Finding]:
    """Each quota has room for the largest task, and enough of it is free now; no limit of a container is below it."""
    tasks = {stage: needs(resources) for stage, resources in view.resources.stages.items()}
    for thing in view.items("resourcequotas"):
        yield from _quota(view, thing, tasks)
    for thing in view.items("limitranges"):
        yield from _limits(view, thing)


def _quota(view: View, thing: Mapping[str, Any], tasks: Mapping[str, Mapping[str, str]]) -> Iterator[Finding]:
    what = f"quota {thing['metadata']['name']}"
    status = thing.get("status") or {}
    hard, used = status.get("hard") or thing["spec"].get("hard") or {}, status.get("used") or {}
    short = False
    for name, amount in hard.items():
        name = {"cpu": "requests.cpu", "memory": "requests.memory"}.get(name, name)
        stage, wanted = max(
            ((stage, needed.get(name, "0")) for stage, needed in tasks.items()), key=lambda pair: quantity(pair[1])
        )
        taken = used.get(name, "0")
        if quantity(wanted) > quantity(amount):
            short = True
            way_out = "add k8s/components/gpu to the overlay" if name.endswith(ACCELERATOR) else f"raise it in {LIMITS}"
            yield missing(
                what,
                f"{name} is {amount}, and stage {stage} of profile {view.profile!r} asks for {wanted}",
                f"{way_out}, or choose a smaller profile with --profile",
            )
        elif quantity(wanted) and quantity(wanted) + quantity(taken) > quantity(amount):
            short = True
            yield missing(
                what,
                f"{taken} of {amount} {name} are taken, and stage {stage} of {view.profile!r} asks for {wanted}",
                f"wait for what runs, or raise it in {LIMITS}",
            )
    if not short:
        yield good(what, f"has room for the largest task of profile {view.profile!r}")


def _limits(view: View, thing: Mapping[str, Any]) -> Iterator[Finding]:
    what = f"limits {thing['metadata']['name']}"
    most = [entry.get("max") or {} for entry in thing["spec"]["limits"] if entry["type"] in ("Container", "Pod")]
    short = False
    for stage, resources in view.resources.stages.items():
        for name, amount in (("cpu", resources.cpu_limit), ("memory", resources.memory_limit)):
            for bound in most:
                if name in bound and quantity(amount) > quantity(bound[name]):
                    short = True
                    yield missing(
                        what,
                        f"{name} of a container is at most {bound[name]}, and stage {stage} has {amount}",
                        f"raise it, or choose a smaller profile than {view.profile!r}",
                    )
    if not short:
        yield good(what, "no container of the profile is too large")
