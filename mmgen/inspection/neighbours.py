"""Made pictures beside the training pictures nearest to them: what was learned by heart shows.

Nearest is measured in pixels, where copies show, and where there is a judge in its features, where the same thing drawn
a little otherwise shows too.

Shapes here: N made pictures, M training pictures, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmgen.evaluation.tasks.task import Section
from mmgen.examples import Example
from mmgen.inspection.attribution import distance
from mmgen.modalities.image import Picture, resize

Features = Callable[[list[Picture]], Any]
"""What a judge sees of pictures: an array or tensor (N, F)."""
SIDE = 32
"""Pixels are compared at this side."""
COPY = 0.02
"""Root mean square difference of pixels, 0 to 1, below which the eye sees one picture."""


def neighbours(
    made: Sequence[Picture], titles: Sequence[str], train: Sequence[Picture], features: Features | None
) -> Section:
    """A tile for each made picture: itself, the nearest training picture in pixels, and the nearest to the judge."""
    in_pixels = nearest(_flat(made), _flat(train))
    to_judge = nearest(*(np.asarray(features(list(side))) for side in (made, train))) if features else None
    tiles = []
    for row, title in enumerate(titles):
        near = train[in_pixels[row]]
        far = distance(resize(made[row], SIDE), resize(near, SIDE))
        shown = {"made": made[row], "nearest in pixels": near}
        if to_judge is not None:
            shown["nearest to the judge"] = train[to_judge[row]]
        remark: tuple[str, bool | None] = (f"{far:.3f} from it", None)
        tiles.append(Example(title, shown, [("a copy" if far < COPY else "", False)] if far < COPY else [remark]))
    second = ", then the nearest one to the judge" if features else ""
    about = (
        f"Left made, beside it the training picture that is nearest in pixels{second}. Below how far the first two are "
        f"apart, 0 to 1; below {COPY} they are the same to the eye: learned by heart."
    )
    return Section("neighbours", "Nearest training pictures", about, tiles)


def nearest(made_NF: NDArray[Any], train_MF: NDArray[Any]) -> NDArray[np.int64]:
    """Place (N,) of the training row nearest to each made one."""
    found: NDArray[np.int64] = ((train_MF**2).sum(1)[None] - 2 * made_NF @ train_MF.T).argmin(1)
    return found


def _flat(pictures: Sequence[Picture]) -> NDArray[np.float32]:
    x_NP = np.stack([resize(picture, SIDE) for picture in pictures]).reshape(len(pictures), -1)
    return (x_NP / 255).astype(np.float32)
