"""A registered model in memory, as the web application asks it: one call at a time, checked, cancelled with its client.

The model is checked, loaded and then held in memory: what happens to its files later is not seen.
"""

from __future__ import annotations

import logging
import math
import numbers
import os
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmgen.errors import ConfigError, DataError, MmgenError
from mmgen.files import is_sealed, open_sealed
from mmgen.ops.registry.packaging import write_pyfunc
from mmgen.ops.serving.limits import CALL, Call, Limits, UnwantedError
from mmgen.ops.tracking.client import ENVIRONMENT

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.pyfunc import PyFuncModel

OPTION_MOST = 1_000
"""Largest whole number of an option: steps, tries or frames, each of which costs time or memory."""
SEEDS = 2**63


class Served:
    """A pyfunc as the web application uses it: one call at a time, its errors kept for the border, to be cancelled.

    Args:
        model: loaded.
        limits: of this process.
    """

    def __init__(self, model: PyFuncModel, limits: Limits) -> None:
        from torch.nn.modules.module import register_module_forward_pre_hook

        self._model = model
        self._limits = limits
        self._lock = threading.Lock()  # between the border's one call and the first, which nobody asked for
        register_module_forward_pre_hook(_still_wanted)
        self.metadata = model.metadata
        self.generator = model.unwrap_python_model().generator

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """What the pyfunc answers to rows, in one of the forms that MLflow's server makes of a request.

        Raises:
            ConfigError: more is asked than `limits` allow, or what the model does not know.
            DataError: a row holds what cannot be read.
            UnwantedError: nobody waits any more.
        """
        call = CALL.get(Call())
        try:
            rows = _frame(data)
            self._check(rows)
            with self._lock:
                return self._model.predict(rows)
        except Exception as error:
            call.error = error
            raise

    def _check(self, rows: pd.DataFrame) -> None:
        items = 0
        for row in rows.reindex(columns=["n", "seed", "options"]).astype(object).to_dict("records"):
            items += _whole("n", row["n"], 1, self._limits.items)
            _whole("seed", row["seed"], 0, SEEDS - 1)
            options = row["options"] if isinstance(row["options"], dict) else {}
            for name, value in options.items():
                if isinstance(value, int | float) and not abs(value) <= OPTION_MOST:
                    raise ConfigError(f"option {name[:40]!r} is {value}; want at most {OPTION_MOST}")
        if not 0 < items <= self._limits.items:
            raise ConfigError(f"{items} things are asked; ask for 1 to {self._limits.items} in a request")

    def warm_up(self) -> None:
        """Let the model answer once, from whatever pair it does.

        Raises:
            MmgenError: it answers none.
        """
        import pandas as pd

        ways = sorted(self.generator.model.pairs(), key=lambda pair: pair[0] not in ("nothing", "text"))
        refusals = []
        for source, to in ways:
            names = [] if source == "nothing" else source.split(" and ")
            if "music" in names:
                continue  # every family with music makes it from nothing as well
            row = {name: _sample(name) for name in names}
            try:
                self.predict(pd.DataFrame([{**row, "to": to, "seed": 0}]))
            except MmgenError as error:
                refusals.append(f"{source} to {to}: {error}")
            else:
                return
        raise ConfigError(f"the model answers nothing, and is not served; {'; '.join(refusals)}")


def _frame(data: Any) -> pd.DataFrame:
    import pandas as pd

    if isinstance(data, dict) or (isinstance(data, list) and all(isinstance(row, dict) for row in data)):
        try:
            return pd.DataFrame(data)
        except ValueError:  # columns of different length, or no columns
            data = None
    if not isinstance(data, pd.DataFrame):
        raise DataError('the rows are no objects; send them as {"inputs": [{"text": "red heart"}]}')
    return data


def _missing(value: Any) -> bool:
    """Whether a cell of a table is empty: None, or the number that is none."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _whole(name: str, value: Any, least: int, most: int) -> int:
    """A whole number of a row; `least` when it is not given."""
    if _missing(value):
        return least
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or not least <= int(value) <= most:
        raise ConfigError(
            f"{name} {str(value)[:40]!r}; want a whole number from {least} to {most}, in all rows or none"
        )
    return int(value)


def _still_wanted(module: object, given: object) -> None:
    """Before each module of a network computes: has the client gone?"""
    call = CALL.get(None)
    if call is not None and call.cancelled.is_set():
        raise UnwantedError


def _sample(name: str) -> str:
    """The plainest thing of a modality, as a column holds it."""
    import base64

    import numpy as np

    from mmgen.modalities import media

    if name == "text":
        return "a"
    thing = (
        np.zeros(8_000, np.float32)
        if name == "sound"
        else np.full((8, 64, 64, 3) if name == "video" else (64, 64, 3), 128, np.uint8)
    )
    return base64.b64encode(media.encode(thing)[1]).decode()


def load(model: Path, limits: Limits) -> Served:
    """The model folder `model` as the pyfunc that registration makes of it, in memory.

    The code is our own, never that which lies beside weights in a store.

    Raises:
        StorageError: the folder is missing, cut short or altered.
    """
    for sealed in (model, model.parent):
        if is_sealed(sealed):
            open_sealed(sealed)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import mlflow.pyfunc

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        write_pyfunc(folder, model, {})
        return Served(mlflow.pyfunc.load_model(str(folder)), limits)
