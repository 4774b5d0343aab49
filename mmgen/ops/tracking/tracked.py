"""What is known of a stage's runs in MLflow while it runs, and what names its model there."""

from __future__ import annotations

from pathlib import Path

from mmgen.files import SEAL, digest, sha256_file
from mmgen.ops.tracking.delivery import plain_files


def model_sha256(model: Path) -> str:
    """One sha256 for all files of a model folder, names included, a seal of its own left out."""
    files = [path for path in plain_files(model, "**/*") if path.name != SEAL]
    return digest({path.relative_to(model).as_posix(): sha256_file(path) for path in files})


class Tracked:
    """The two MLflow runs of a stage; their ids are empty as long as the tracker has not answered."""

    def __init__(self) -> None:
        self.experiment_id = ""
        self.parent_id = ""
        self.run_id = ""
