"""Versions, champions and the way back, on a real registry."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmgen.errors import ConfigError, StorageError, TrackingError
from mmgen.files import read_json
from mmgen.ops.registry.champions import promote, rollback
from mmgen.ops.registry.registration import register
from mmgen.ops.registry.registry import ModelVersion, champion, fetch, history
from mmgen.ops.runs.cache import run_stage
from mmgen.ops.runs.run import Run
from mmgen.ops.tracking.client import connected, tracking_uri
from mmgen.ops.tracking.stage_run import stage_run
from mmgen.ops.tracking.tracked import model_sha256
from tests.support.runs import make_trained, small_run

NAME = "mmgen-emoji"
REPOSITORY = Path(__file__).resolve().parents[3]


def registered(
    run: Run, out: Path, *, decision: str = "promote", shade: int | None = None, promoting: bool = True
) -> ModelVersion:
    shade = int(run.keys.run_key[:4]) if shade is None else shade
    make_trained(run, decision=decision, shade=shade, champion=aliases(run.root).get("champion"))
    out.mkdir(exist_ok=True)
    with stage_run(run, "register", out) as tracked:
        return register(run, tracked, out, kfp_run_id="kfp-1234", promoting=promoting)


def aliases(root: Path) -> dict[str, str]:
    return {alias: version.version for version in history(root, NAME) for alias in version.aliases}


def test_a_promoted_model_is_champion_with_its_lineage(root: Path, tmp_path: Path) -> None:
    run = small_run(root)

    version = registered(run, tmp_path / "out")

    assert (version.uri, version.aliases) == ("models:/mmgen-emoji/1", ("champion",))
    model = run.folder("train") / "model"
    parent = version.tags.pop("mmgen.mlflow_run_id")
    assert len(parent) == 32
    assert version.tags == {
        "mmgen.run_key": run.keys.run_key,
        "mmgen.git_commit": run.git_commit,
        "mmgen.git_dirty": "false",
        "mmgen.data_version": run.data_version,
        "mmgen.kfp_run_id": "kfp-1234",
        "mmgen.model_sha256": model_sha256(model),
        "mmgen.recipe": "emoji",
        "mmgen.data_name": "emoji",
        "mmgen.task": "captioned",
        "mmgen.family": "small",
        "mmgen.settled": "true",
        "mmgen.train_key": run.keys.stages["train"],
        "mmgen.validate_key": run.keys.stages["validate"],
        "mmgen.verdict": "promote",
    }
    assert read_json(tmp_path / "out" / "model.json") == {
        "name": NAME,
        "version": "1",
        "aliases": ["champion"],
        "uri": "models:/mmgen-emoji/1",
        "run_key": run.keys.run_key,
        "git_commit": run.git_commit,
        "data_version": run.data_version,
        "kfp_run_id": "kfp-1234",
        "model_sha256": model_sha256(model),
        "decision": "promote",
        "path": str(model),
    }
    found = champion(root, NAME)
    assert found is not None
    assert (found[0].version, found[1]) == ("1", model)


def test_the_next_champion_makes_the_old_one_previous_and_rollback_undoes_it(root: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        registered(small_run(root, number), tmp_path / "out")
    assert aliases(root) == {"champion": "2", "previous": "1"}

    assert rollback(root, NAME).version == "1"

    assert aliases(root) == {"champion": "1", "previous": "2"}
    assert [version.version for version in history(root, NAME)] == ["2", "1"]


@pytest.mark.parametrize("decision", ["keep", "inconclusive"])
def test_a_model_that_was_not_promoted_is_challenger(root: Path, tmp_path: Path, decision: str) -> None:
    registered(small_run(root, 1), tmp_path / "out")
    registered(small_run(root, 2), tmp_path / "out", decision=decision)

    assert aliases(root) == {"champion": "1", "challenger": "2"}
    promote(root, NAME, "2")
    assert aliases(root) == {"champion": "2", "previous": "1"}


def test_the_same_run_is_registered_once_and_does_not_undo_a_later_promotion(root: Path, tmp_path: Path) -> None:
    first = registered(small_run(root, 1), tmp_path / "out")
    registered(small_run(root, 2), tmp_path / "out")

    again = registered(small_run(root, 1), tmp_path / "out")

    assert again.version == first.version
    assert len(history(root, NAME)) == 2
    assert aliases(root) == {"champion": "2", "previous": "1"}


def test_a_registration_that_was_killed_before_the_names_is_finished_by_the_next(root: Path, tmp_path: Path) -> None:
    run = small_run(root)
    registered(run, tmp_path / "out")
    with connected(tracking_uri(root)) as client:
        client.delete_registered_model_alias(NAME, "champion")
        client.delete_model_version_tag(NAME, "1", "mmgen.settled")

    registered(run, tmp_path / "out")

    assert aliases(root) == {"champion": "1"}


def test_the_same_run_with_other_weights_is_another_version(root: Path, tmp_path: Path) -> None:
    run = small_run(root, 1)
    registered(run, tmp_path / "out", shade=1)
    for stage in ("train", "gate"):
        (run.folder(stage) / "SEAL.json").unlink()

    registered(run, tmp_path / "out", shade=2)

    assert [version.version for version in history(root, NAME)] == ["2", "1"]


def test_an_altered_model_is_not_registered(root: Path, tmp_path: Path) -> None:
    run = small_run(root)
    make_trained(run)
    (run.folder("train") / "model" / "weights.safetensors").write_bytes(b"x" * 64)

    with stage_run(run, "register", tmp_path) as tracked, pytest.raises(StorageError, match="was altered after"):
        register(run, tracked, tmp_path)

    assert history(root, NAME) == []


def test_without_a_registry_registration_fails_in_one_line(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = small_run(root)
    make_trained(run)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:s3cret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    with (
        pytest.raises(TrackingError, match="check MLFLOW_TRACKING_URI") as caught,
        stage_run(run, "register", tmp_path),
    ):
        pytest.fail("a registration without a registry has begun")

    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


APPLICATION = """
import base64, sys
from pathlib import Path
import mlflow
import numpy as np
import pandas as pd
from mmgen.generate import Generator
from mmgen.modalities.image import read

loaded = mlflow.pyfunc.load_model("models:/mmgen-emoji@champion")
answer = loaded.predict(pd.DataFrame({"text": ["red heart", "blue heart"], "seed": [3, 4]}))
pictures = [read(base64.b64decode(text), "answer") for text in answer["image"]]
generator = Generator.load(Path(sys.argv[1]))
assert np.array_equal(pictures[1], generator.generate(text="blue heart", to="image", seed=4)[0])
caption = loaded.predict(pd.DataFrame({"image": list(answer["image"])}))["text"]
assert list(caption) == [generator.generate(image=picture, to="text")[0] for picture in pictures]
for frame in (pd.DataFrame({"image": ["no base64"]}), pd.DataFrame({"seed": [1]})):
    try:
        loaded.predict(frame)
    except Exception as error:
        print(error)
"""


def test_an_application_loads_the_champion_and_uses_it_both_ways(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = small_run(root)
    run_stage("train", run.keys.stages["train"], root, fill_tiny_model, facts=run.facts("train"))
    registered(run, tmp_path / "out")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri(root))
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    command = [sys.executable, "-c", APPLICATION, str(run.folder("train"))]

    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=REPOSITORY)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "column 'image' holds no base64: Only base64 data is allowed",
        "rows hold nothing, which this model does not start from; it starts from: image; text",
    ]
    next((root / "mlartifacts").rglob("models/**/weights.safetensors")).write_bytes(b"x" * 64)
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=REPOSITORY)
    assert "weights.safetensors' has 64 bytes, sealed with" in done.stderr


def fill_tiny_model(out: Path) -> None:
    """A real model of the flagship's family, fitted to twelve pictures of noise and not trained."""
    import torch

    from mmgen import models
    from mmgen.data.config import DataConfig
    from mmgen.data.corpus import Corpus
    from mmgen.data.shards import Sample
    from mmgen.modalities import image
    from mmgen.models.anyto.config import AnyToConfig
    from mmgen.models.anyto.model import AnyTo

    rng = np.random.default_rng(0)
    names = [f"{colour} heart" for colour in ("red", "blue", "green")] * 4
    pictures = [image.encode(rng.integers(0, 256, (16, 16, 3), np.uint8)) for _ in names]
    samples = [Sample(str(number), {"png": picture}) for number, picture in enumerate(pictures)]
    corpus = Corpus("train", samples, [{"captions": {"en": name}} for name in names])
    config = AnyToConfig(
        image_px=16,
        components=8,
        image_tokens=2,
        width=16,
        depth=1,
        heads=2,
        head_width=16,
        head_blocks=1,
        memory_rows=64,
        memory_width=8,
    )
    models.save(AnyTo.fit(config, corpus, DataConfig(), torch.Generator().manual_seed(0)), out / "model")


def test_nothing_in_the_registered_model_is_pickled_and_torch_is_not_needed(root: Path, tmp_path: Path) -> None:
    torch_before = "torch" in sys.modules
    registered(small_run(root), tmp_path / "out")

    files = [path for path in (root / "mlartifacts").rglob("models/**/*") if path.is_file()]

    assert ("torch" in sys.modules) == torch_before
    assert {path.suffix for path in files} <= {".json", ".yaml", ".txt", ".py", ".safetensors", ""}
    assert {path.name for path in files} >= {"MLmodel", "pyfunc_model.py", "weights.safetensors", "input_example.json"}
    requirements = next(path for path in files if path.name == "requirements.txt").read_text().split()
    assert all("==" in line for line in requirements)


def test_a_champion_from_another_machine_is_downloaded_and_checked(root: Path, tmp_path: Path) -> None:
    run = small_run(root)
    registered(run, tmp_path / "out")
    wanted = model_sha256(run.folder("train") / "model")
    run.folder("train").rename(tmp_path / "gone")

    folder = fetch(root, NAME, "1")

    assert folder == root / "models" / NAME / "1"
    assert model_sha256(folder) == wanted
    (folder / "config.json").write_text("{}")
    assert model_sha256(fetch(root, NAME, "1")) == wanted  # loaded again


def test_an_altered_artifact_of_the_champion_is_refused(root: Path, tmp_path: Path) -> None:
    run = small_run(root)
    registered(run, tmp_path / "out")
    run.folder("train").rename(tmp_path / "gone")
    next((root / "mlartifacts").rglob("models/**/weights.safetensors")).write_bytes(b"x" * 64)

    with pytest.raises(StorageError, match=r"models:/mmgen-emoji/1 has sha256 .* it was altered; promote another"):
        champion(root, NAME)


def test_there_is_no_champion_before_the_first_promotion(root: Path, tmp_path: Path) -> None:
    assert champion(root, NAME) is None
    registered(small_run(root), tmp_path / "out", decision="keep")

    assert champion(root, NAME) is None
    assert aliases(root) == {"challenger": "1"}


def test_versions_that_do_not_exist_are_named(root: Path, tmp_path: Path) -> None:
    registered(small_run(root), tmp_path / "out")

    with pytest.raises(ConfigError, match="mmgen-emoji has no version '7'; see: mmgen history"):
        promote(root, NAME, "7")
    with pytest.raises(ConfigError, match="mmgen-emoji has no version 'two'"):
        promote(root, NAME, "two")
    with pytest.raises(ConfigError, match="has no previous champion"):
        rollback(root, NAME)


def test_a_promotion_that_is_held_waits_for_a_person(root: Path, tmp_path: Path) -> None:
    registered(small_run(root, 1), tmp_path / "out")

    held = registered(small_run(root, 2), tmp_path / "out", promoting=False)
    again = registered(small_run(root, 2), tmp_path / "out")  # the same run, now with the power to promote
    before = aliases(root)
    promote(root, NAME, held.version)

    assert held.tags["mmgen.verdict"] == "promote, awaiting approval"
    assert again.version == held.version
    assert before == {"champion": "1", "challenger": "2"}
    assert aliases(root) == {"champion": "2", "previous": "1"}


def test_a_verdict_that_is_held_is_only_changed_where_it_would_promote(root: Path, tmp_path: Path) -> None:
    kept = registered(small_run(root, 1), tmp_path / "out", decision="keep", promoting=False)

    assert (kept.tags["mmgen.verdict"], kept.aliases) == ("keep", ("challenger",))
