"""A model folder as an MLflow model: code that reads safetensors, a signature, an example, exact requirements."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from mmgen.files import seal
from mmgen.modalities import NAMES
from mmgen.ops.runs.keys import version
from mmgen.ops.tracking.tracked import Tracked

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

CODE = Path(__file__).with_name("pyfunc_model.py")


def log_model(client: MlflowClient, name: str, model: Path, tags: dict[str, str], tracked: Tracked) -> LoggedModel:
    """Log the folder `model` as an output of the tracked run.

    In these steps rather than by `mlflow.pyfunc.log_model`, which would load the model and draw with it only to
    see whether the input example is well formed.
    """
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    logged = client.create_logged_model(
        tracked.experiment_id, name=name, source_run_id=tracked.run_id, tags=tags, model_type="generator"
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        content = Model(
            artifact_path=logged.artifact_location,
            run_id=tracked.run_id,
            model_uuid=logged.model_id,
            model_id=logged.model_id,
            metadata={"run_key": tags["mmgen.run_key"], "sha256": tags["mmgen.model_sha256"]},
        )
        write_pyfunc(folder, model, tags, content)
        client.log_model_artifacts(logged.model_id, str(folder))
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(tracked.run_id, [LoggedModelOutput(logged.model_id, step=0)])
    return logged


def write_pyfunc(folder: Path, model: Path, facts: dict[str, str], content: object = None) -> None:
    """Write the model folder `model` as a pyfunc: code, weights, signature, example, requirements.

    Args:
        folder: to make.
        model: copied, with a seal of its own: whoever loads the pyfunc has every byte verified.
        facts: for that seal.
        content: MLflow's `Model` with what is known of this one.
    """
    with tempfile.TemporaryDirectory() as scratch:
        sealed = Path(scratch) / "model"
        shutil.copytree(model, sealed)
        seal(sealed, **facts)
        _save(folder, sealed, content)


def _save(folder: Path, model: Path, content: object) -> None:
    """Write the pyfunc: code, model folder, signature, example, requirements."""
    import pandas as pd

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on MLflow's own doings: types of its agents, calls that pandas 4 drops
        import mlflow.pyfunc
        from mlflow.models import ModelSignature
        from mlflow.types import ColSpec, DataType, Schema
        from mlflow.types.schema import AnyType

        def column(kind: DataType | AnyType, name: str) -> ColSpec:
            return ColSpec(kind, name, required=False)

        things = [column(DataType.string, name) for name in NAMES]
        asked = [*things, column(DataType.string, "to"), column(DataType.long, "seed"), column(DataType.long, "n")]
        asked.append(column(AnyType(), "options"))
        signature = ModelSignature(Schema(asked), Schema([*things, column(DataType.string, "all")]))
        packages = ("mlflow", "numpy", "pandas", "pillow", "safetensors", "torch")
        mlflow.pyfunc.save_model(
            str(folder),
            python_model=str(CODE),
            artifacts={"model": str(model)},
            signature=signature,
            input_example=pd.DataFrame({"text": ["red heart"], "to": ["image"], "seed": [0]}),
            pip_requirements=[f"{package}=={version(package)}" for package in packages],
            mlflow_model=content,
        )
