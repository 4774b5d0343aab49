"""Compile the pipeline to the file that a cluster takes, and keep the committed copies true.

A committed copy for each profile shows in every change what would reach a cluster. Its images are stand-ins
(`UNPUSHED`): the digest of an image holds the commit that it was built from, so a commit cannot hold that digest.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from mmgen.errors import ConfigError, StorageError, unknown
from mmgen.files import refusal, write_bytes
from pipelines.cluster.form import CHOICES, HERE, Form
from pipelines.cluster.images import UNPUSHED, Images
from pipelines.cluster.profiles import NAMES, PROFILES

GOLDENS = Path(__file__).resolve().parents[1] / "compiled"


def compiled(images: Images = UNPUSHED, profile: str = NAMES[0], form: Form = HERE) -> bytes:
    """The pipeline as KFP's YAML: the same bytes wherever and whenever it is compiled.

    Two documents: the pipeline, and what of the profile only Kubernetes understands (`yaml.safe_load_all`).

    Args:
        form: defaults of the parameters.

    Raises:
        ConfigError: there is no such profile.
    """
    if profile not in PROFILES:
        raise ConfigError(unknown("profile", profile, NAMES))
    from kfp import compiler

    from pipelines.training import pipeline

    made = pipeline(images, PROFILES[profile].stages, form)
    parameters = made.pipeline_spec.root.input_definitions.parameters
    for name, values in CHOICES.items():
        for value in values:  # the SDK has no way to say them; the specification, the server and the pages have
            kind = "bool_value" if isinstance(value, bool) else "string_value"
            setattr(parameters[name].literals.add(), kind, value)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "training.yaml"
        compiler.Compiler().compile(made, str(path))
        return path.read_bytes()


def golden(profile: str) -> Path:
    """The committed file of a profile."""
    return GOLDENS / ("training.yaml" if profile == NAMES[0] else f"training-{profile}.yaml")


def write() -> list[Path]:
    """Compile every profile to its committed file and return their paths."""
    for profile in NAMES:
        write_bytes(golden(profile), compiled(profile=profile))
    return [golden(profile) for profile in NAMES]


def write_to(path: Path, images: Images, profile: str) -> None:
    """Compile to `path` for a cluster.

    Raises:
        StorageError: the file cannot be written.
    """
    content = compiled(images, profile)
    try:
        write_bytes(path, content)
    except OSError as error:
        raise StorageError(refusal(path, error)) from error


def check() -> None:
    """Compare with the committed files.

    Raises:
        ConfigError: one is missing or differs.
    """
    for profile in NAMES:
        path = golden(profile)
        if not path.is_file() or path.read_bytes() != compiled(profile=profile):
            name = f"{path.parent.parent.name}/{path.parent.name}/{path.name}"
            raise ConfigError(
                f"{name!r} is not what the code compiles to; run: mmgen compile, look at the difference, commit"
            )
