"""The argument of every check of a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.cluster.check.kubernetes_api import Kubernetes
from pipelines.cluster.images import Images
from pipelines.cluster.profiles import PROFILES, Profile


@dataclass(frozen=True, kw_only=True)
class View:
    """A cluster as this machine sees it."""

    kubernetes: Kubernetes
    namespace: str
    profile: str
    """Name of the profile that runs shall have."""
    images: Images | None = None
    """What tasks shall run in; None where nobody has said."""
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def resources(self) -> Profile:
        """The profile."""
        return PROFILES[self.profile]

    @property
    def trains_on_nodes(self) -> bool:
        """Whether a training is a TrainJob."""
        return any(stage.nodes > 1 for stage in self.resources.stages.values())

    def path(self, kind: str, name: str = "", group: str = "") -> str:
        """Path of a kind in our namespace: `path("secrets", "object-store")`, `path("roles", group="rbac.../v1")`."""
        root = f"/apis/{group}" if group else "/api/v1"
        return f"{root}/namespaces/{self.namespace}/{kind}" + (f"/{name}" if name else "")

    def get(self, kind: str, name: str, group: str = "") -> dict[str, Any] | None:
        """An object of our namespace; None where there is none."""
        return self.kubernetes.get(self.path(kind, name, group))

    def items(self, kind: str, group: str = "", **query: str) -> list[dict[str, Any]]:
        """All objects of a kind in our namespace."""
        return self.kubernetes.items(self.path(kind, group=group), **query)


def containers_of(thing: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The containers, those that start first among them, of an object with a pod template."""
    pod = thing["spec"]["template"]["spec"]
    yield from [*pod.get("initContainers", []), *pod["containers"]]
