"""The registered model as MLflow loads it: code that reads safetensors, nothing pickled (models from code).

A row holds what is given, in columns named by modality (text as it is, all else as the bytes of a file in base64), and
if wanted `to`, `seed`, `n` and `options`, an object such as {"steps": 4}. The answer has one column: what was made, in
the same form, `n` rows for each row. Without `to`, the first pair of the model that starts from the given columns says
what is made.
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
        """One answer a row, or `n`.

        Raises:
            ConfigError: an option that the model does not know, or `n` below 1.
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
        if any(model_input[name].isna().any() for name in columns):
            raise DataError("rows of one request start from different things; send a request for each")
        asked = "to" in model_input and model_input["to"].notna().all()
        targets = list(model_input["to"]) if asked else [known[wanted]] * len(model_input)
        if len(set(targets)) > 1:
            raise DataError("rows of one request ask for different modalities; send a request for each")
        made = []
        for to, row in zip(targets, model_input.to_dict("records"), strict=True):
            row = {name: value for name, value in row.items() if isinstance(value, dict) or not pd.isna(value)}
            made += self._made({name: str(row[name]) for name in columns}, str(to), row)
        return pd.DataFrame({str(targets[0]): made})

    def _made(self, given: dict[str, str], to: str, row: dict[str, Any]) -> list[str]:
        things = {name: _decoded(name, content) for name, content in given.items()}
        options = row.get("options", {})
        if not isinstance(options, dict) or options.keys() & {*NAMES, "to", "n", "seed"}:
            raise DataError(f"options {str(options)[:80]!r}; want an object with options of the model, such as steps")
        made = self.generator.generate(**things, to=to, n=int(row.get("n", 1)), seed=int(row.get("seed", 0)), **options)
        return [_told(thing, to) for thing in made]


def _told(made: Any, to: str) -> str:
    from mmgen.modalities import media

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
