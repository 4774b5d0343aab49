"""An example: one thing that a model was asked and all that was made of it, for people to look at and listen to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mmgen.modalities import contact_sheet, media
from mmgen.modalities.image import Picture


@dataclass(frozen=True)
class Example:
    """One tile of a report."""

    title: str
    """What was asked, in words."""
    media: dict[str, Any] = field(default_factory=dict)
    """Pictures, sounds, videos and tunes by label, such as `real` and `drawn`, in the order to show them."""
    remarks: list[tuple[str, bool | None]] = field(default_factory=list)
    """Lines below, each right (True), wrong (False) or neither."""


def sheet(examples: Sequence[Example], columns: int = 8) -> Picture:
    """All examples as one contact sheet: the media of each side by side, below them its title and first remark."""
    tiles, captions = [], []
    for example in examples:
        pictures = [media.picture(value) for value in example.media.values()]
        tiles.append(
            contact_sheet.beside(pictures)
            if pictures
            else contact_sheet.lettered([text for text, _ in example.remarks])
        )
        remarks = [text for text, _ in example.remarks[:1] if pictures]
        captions.append(" / ".join(filter(None, [example.title, *remarks])))
    return contact_sheet.show(tiles, captions, columns)


def spread(length: int, count: int) -> list[int]:
    """At most `count` places spread evenly over `length`."""
    step = max(1, length // count)
    return list(range(step // 2, length, step))[:count]
