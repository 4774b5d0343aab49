"""mmgen: any-to-any generators, trained, judged, promoted and served by one pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmgen.generate import Generator

__all__ = ["Generator"]


def __getattr__(name: str) -> object:
    # `import mmgen` stays instant: torch comes in with the first use of Generator.
    if name == "Generator":
        from mmgen.generate import Generator

        return Generator
    raise AttributeError(f"module 'mmgen' has no attribute {name!r}")
