"""The registered model as MLflow loads it: code that reads safetensors, nothing pickled (models from code).

frame with column `text` and, if wanted, `seed`    ->  column `image`, PNG bytes in base64
frame with column `image`, PNG bytes in base64     ->  column `text`
"""

from __future__ import annotations

import base64
from typing import Any

import mlflow
import pandas as pd  # at the top, unlike elsewhere: MLflow, which runs this file, reads the types of `predict`
from mlflow.pyfunc import PythonModel, PythonModelContext

from mmgen.errors import DataError


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
            DataError: neither or both of the columns `text` and `image`.
        """
        columns = {name for name in ("text", "image") if name in model_input and model_input[name].notna().any()}
        if columns == {"text"}:
            seeds = model_input["seed"] if "seed" in model_input else [0] * len(model_input)
            rows = zip(model_input["text"], seeds, strict=True)
            return pd.DataFrame({"image": [self._draw(str(text), int(seed)) for text, seed in rows]})
        if columns == {"image"}:
            return pd.DataFrame({"text": [self._describe(str(image)) for image in model_input["image"]]})
        raise DataError(f"expected a column 'text' or a column 'image', got: {', '.join(model_input.columns)}")

    def _draw(self, text: str, seed: int) -> str:
        from mmgen.modalities.image import encode

        picture = self.generator.generate(text=text, to="image", n=1, seed=seed)[0]
        return base64.b64encode(encode(picture)).decode()

    def _describe(self, image: str) -> str:
        from mmgen.modalities.image import read

        try:
            content = base64.b64decode(image, validate=True)
        except ValueError as error:
            raise DataError(f"column 'image' holds no base64: {error}") from None
        return str(self.generator.generate(image=read(content, "column 'image'"), to="text")[0])


mlflow.models.set_model(GeneratorModel())
