"""`mmgen serve`: real requests to the champion of a real registry, and a look at what comes back."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from mmgen.generate import Generator
from mmgen.modalities import image
from mmgen.ops.runs.cache import run_stage
from mmgen.ops.runs.run import Run
from tests.ops.registry.test_registry import registered
from tests.support.runs import small_run
from tests.support.serving import DRAW, Server, fill_lively_model, started


@dataclass(frozen=True)
class Champion:
    server: Server
    run: Run
    generator: Generator


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Champion]:
    """A server of a registered tiny model, started by the command line."""
    folder = tmp_path_factory.mktemp("serving")
    root = folder / "runs"
    root.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        run = small_run(root)
        run_stage("train", run.keys.stages["train"], root, fill_lively_model, facts=run.facts("train"))
        registered(run, folder / "out")
    verb = ("-m", "pipelines.cli", "serve", "--recipe", "emoji", "--root", str(root), "--port", "0")
    with started(folder / "log", *verb) as server:
        yield Champion(server, run, Generator.load(run.folder("train")))


def pictures(items: list[str]) -> list[Any]:
    return [image.read(base64.b64decode(item), "answer") for item in items]


def test_the_pictures_that_come_back_are_those_of_the_model(champion: Champion) -> None:
    asked = {**DRAW, "n": 3, "seed": 7, "options": {"steps": 3, "guidance": 1.5}}

    status, answer = champion.server.ask("/v1/generate", asked)

    assert (status, answer["model"]) == (200, "mmgen-emoji/1")
    assert [(item["index"], item["kind"], item["mime"]) for item in answer["items"]] == [
        (number, "image", "image/png") for number in range(3)
    ]
    wanted = champion.generator.generate(text="red heart", to="image", n=3, seed=7, steps=3, guidance=1.5)
    assert np.array_equal(pictures([item["data"] for item in answer["items"]]), wanted)
    assert len({picture.tobytes() for picture in wanted}) == 3


@pytest.mark.parametrize("form", ["inputs", "instances", "dataframe_records"])
def test_mlflows_own_requests_are_answered_row_by_row(champion: Champion, form: str) -> None:
    rows = [{"text": "red heart", "to": "image", "seed": 3}, {"text": "blue heart", "to": "image", "seed": 4}]

    status, answer = champion.server.ask("/invocations", {form: rows})

    assert status == 200
    wanted = [champion.generator.generate(text=row["text"], to="image", seed=row["seed"])[0] for row in rows]
    assert np.array_equal(pictures([row["image"] for row in answer["predictions"]]), wanted)


def test_a_picture_is_described(champion: Champion) -> None:
    picture = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)
    sent = base64.b64encode(image.encode(picture)).decode()
    caption = champion.generator.generate(image=picture, to="text")[0]

    assert champion.server.ask("/v1/generate", {"given": {"image": sent}, "to": "text"}) == (
        200,
        {
            "model": "mmgen-emoji/1",
            "items": [{"index": 0, "kind": "text", "mime": "text/plain", "data": caption}],
        },
    )
    assert champion.server.ask("/invocations", {"inputs": [{"image": sent}]}) == (
        200,
        {"predictions": [{"text": caption}]},
    )


def test_the_schema_of_requests_is_published(champion: Champion) -> None:
    status, schema = champion.server.ask("/openapi.json")

    assert status == 200
    assert schema["info"]["title"] == "mmgen: mmgen-emoji/1"
    asked = schema["components"]["schemas"]["Asked"]["properties"]
    assert list(asked) == ["given", "to", "n", "seed", "options"]


def test_a_server_that_is_told_to_stop_ends_well_and_says_nothing(champion: Champion) -> None:
    """The last test of this file: it stops the server."""
    assert champion.server.stop() == 0
    assert champion.server.log.read_text() == ""
