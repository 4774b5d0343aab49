"""Which images a pipeline runs in: one for each role, named by digest."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields

from components.images import CPU, GPU
from mmgen.errors import ConfigError, unknown

_NAME = re.compile(r"[a-z0-9][A-Za-z0-9._/:-]*(@sha256:[0-9a-f]{64})?")
_BY_DIGEST = re.compile(r"[^@]+@sha256:[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Images:
    """The images of one pipeline."""

    cpu: str
    gpu: str
    dev: bool = False
    """Allow names without a digest. Nobody can say later what such a run ran in, so it counts as dirty."""

    def __post_init__(self) -> None:
        for role, name in self._names().items():
            if not _NAME.fullmatch(name):
                raise ConfigError(f"image {role}={name!r} is no image name; write NAME@sha256:<64 hexadecimal digits>")
            if not self.dev and not _BY_DIGEST.fullmatch(name):
                raise ConfigError(
                    f"image {role}={name!r} has no digest; write NAME@sha256:<64 hexadecimal digits>, as the push "
                    "printed it, or take the name as it is with --dev, which marks the run as dirty"
                )

    def of(self, base_image: str) -> str:
        """The full name of the image that a component asks for by its role."""
        return {CPU: self.cpu, GPU: self.gpu}[base_image]

    @property
    def environment(self) -> dict[str, str]:
        """What the tasks are told of their images: `mmgen.ops.runs.keys` makes the digests part of the run key."""
        digests = " ".join(f"{role}={name.rpartition('@')[2]}" for role, name in self._names().items())
        return {"MMGEN_IMAGE_DIGEST": digests} | ({"MMGEN_IMAGE_DEV": "1"} if self.dev else {})

    def _names(self) -> dict[str, str]:
        return {"cpu": self.cpu, "gpu": self.gpu}


ROLES = tuple(field.name for field in fields(Images) if field.name != "dev")

UNPUSHED = Images(**{role: f"registry.invalid/mmgen-python-{role}@sha256:{'0' * 64}" for role in ROLES})
"""Stand in the committed pipelines for images that only a registry can name; no cluster can pull them."""


def parse(given: Sequence[str], *, dev: bool = False) -> Images:
    """The images that `ROLE=NAME` words name.

    Raises:
        ConfigError: a role is unknown or missing, or a name has no digest.
    """
    names: dict[str, str] = {}
    for word in given:
        role, _, name = word.partition("=")
        if role not in ROLES:
            raise ConfigError(unknown("image role", role, ROLES))
        names[role] = name
    if missing := [role for role in ROLES if role not in names]:
        raise ConfigError(f"no image is named for {missing[0]!r}; add: --image {missing[0]}=NAME@sha256:...")
    return Images(**names, dev=dev)


def images_of(named: Sequence[str], dev: bool = False) -> Images:
    """The images that are named; the keys that this process works out from here on are those of tasks in them."""
    images = parse(named, dev=dev)
    os.environ.update(images.environment)
    return images
