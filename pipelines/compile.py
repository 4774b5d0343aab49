"""Compile the pipeline to the file that a cluster takes, and keep the committed copy true."""

from __future__ import annotations

import tempfile
from pathlib import Path

from mmgen.errors import ConfigError
from mmgen.files import write_bytes

GOLDEN = Path(__file__).with_name("compiled") / "training.yaml"


def compiled() -> bytes:
    """The pipeline as KFP's YAML: the same bytes wherever and whenever it is compiled."""
    from kfp import compiler

    from pipelines.training import training

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "training.yaml"
        compiler.Compiler().compile(training, str(path))
        return path.read_bytes()


def write() -> Path:
    """Compile to the committed file and return its path."""
    write_bytes(GOLDEN, compiled())
    return GOLDEN


def check() -> None:
    """Compare with the committed file.

    Raises:
        ConfigError: it is missing or differs.
    """
    fresh = compiled()
    if not GOLDEN.is_file() or GOLDEN.read_bytes() != fresh:
        name = f"{GOLDEN.parent.parent.name}/{GOLDEN.parent.name}/{GOLDEN.name}"
        raise ConfigError(
            f"{name!r} is not what the code compiles to; run: mmgen compile, look at the difference, commit"
        )
