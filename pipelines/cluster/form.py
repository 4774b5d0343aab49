"""The form that Kubeflow's pages show for the pipeline: the defaults of its parameters, and the choices of some."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mmgen.errors import ConfigError
from mmgen.ops.storage.objects import SCHEME
from mmgen.recipes import NAMES
from mmgen.recipes.recipe import SIZES


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """Default of each parameter of the pipeline."""

    recipe: str = NAMES[0]
    size: str = SIZES[0]
    settings: str = ""
    root: str
    data: str
    promote: bool = True

    def check(self) -> None:
        """Refuse a form whose defaults no pod could use.

        Raises:
            ConfigError: root or data is a relative path.
        """
        for name, place in (("root", self.root), ("data", self.data)):
            if not place.startswith((SCHEME, "/")):
                raise ConfigError(
                    f"{name} {place!r} is a folder of this machine, which no pod sees; give s3://bucket/prefix, "
                    f"by --cluster-{name} or MMGEN_CLUSTER_{name.upper()}"
                )


HERE = Form(root="runs", data="data")
"""Of this machine: folders below the place where a command is started."""

CHOICES: dict[str, tuple[Any, ...]] = {"recipe": NAMES, "size": SIZES, "promote": (True, False)}
"""Parameters with few values: the pages draw a drop-down, and the server refuses any other value."""
