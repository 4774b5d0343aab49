"""The registered model as MLflow loads it: code that reads safetensors, nothing pickled (models from code).

A row holds what is given, in columns named by modality (text as it is, all else as the bytes of a file in base64), and
if wanted `to` and `seed`. The answer has one column: what was made, in the same form. Without `to`, the first pair of
the model that starts from the given columns says what is made.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import mlflow
import pandas as pd  # at the top, unlike elsewhere: MLflow, which runs this file, reads the types of `predict`
from mlflow.pyfunc import PythonModel, PythonModelContext

from mmgen.errors import DataError
from mmgen.modalities import NAMES


class GeneratorModel(PythonModel):  # type: ignore[misc]  # MLflow's class is not typed
    """`mmgen.Generator` behind MLflow's interface."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the model folder that was logged beside this file."""
        from pathlib import Path

        from mmgen.generate import Generator

        self.generator = Generator.load(Path(context.artifacts["model"]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """One answer a row.

        Raises:
            DataError: a row holds what cannot be read, or nothing that the model starts from.
        """
        columns = {name for name in NAMES if name in model_input and model_input[name].notna().any()}
        pairs = self.generator.model.pairs()
        sources = dict(reversed(pairs))
        wanted = " and ".join(sorted(columns)) or "nothing"
        known = {" and ".join(sorted(source.split(" and "))): target for source, target in sources.items()}
        if wanted not in known:
            starts = "; ".join(sorted(sources))
            raise DataError(f"rows hold {wanted}, which this model does not start from; it starts from: {starts}")
        seeds = model_input["seed"] if "seed" in model_input else [0] * len(model_input)
        asked = "to" in model_input and model_input["to"].notna().all()
        targets = list(model_input["to"]) if asked else [known[wanted]] * len(model_input)
        if len(set(targets)) > 1:
            raise DataError("rows of one request ask for different modalities; send a request for each")
        made = [
            self._one({name: str(row[name]) for name in columns}, str(to), int(seed))
            for (_, row), to, seed in zip(model_input.iterrows(), targets, seeds, strict=True)
        ]
        return pd.DataFrame({str(targets[0]): made})

    def _one(self, given: dict[str, str], to: str, seed: int) -> str:
        from mmgen.modalities import media

        things = {name: _decoded(name, content) for name, content in given.items()}
        made = self.generator.generate(**things, to=to, n=1, seed=seed)[0]
        if to == "all":
            return json.dumps({name: _encoded(name, value) for name, value in made.items()})
        return _encoded(media.kind(made), made)


def _decoded(name: str, content: str) -> Any:
    from mmgen.modalities import media

    where = f"column {name!r}"
    if name == "text":
        return media.module(name).read(content.encode(), where)
    try:
        return media.module(name).read(base64.b64decode(content, validate=True), where)
    except ValueError as error:
        raise DataError(f"{where} holds no base64: {error}") from None


def _encoded(name: str, value: Any) -> str:
    from mmgen.modalities import media

    return str(value) if name == "text" else base64.b64encode(media.encode(value)[1]).decode()


mlflow.models.set_model(GeneratorModel())
