"""`POST /v1/generate`: one thing asked of a served model, with a schema that /docs and /openapi.json show."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from fastapi import FastAPI

    from mmgen.ops.serving.served import Served

MIME = {
    "text": "text/plain",
    "image": "image/png",
    "sound": "audio/wav",
    "video": "image/webp",
    "music": "text/vnd.abc",
}

Media = Annotated[str | None, Field(description="Bytes of a file in base64.")]


class Given(BaseModel):
    """What to start from; nothing, to make something from nothing."""

    model_config = ConfigDict(extra="forbid")

    text: Annotated[str | None, Field(description="A caption, transcript or request.", examples=["red heart"])] = None
    image: Media = None
    sound: Media = None
    video: Media = None
    music: Media = None


class Asked(BaseModel):
    """A request."""

    model_config = ConfigDict(extra="forbid")

    given: Given = Given()
    to: Annotated[str, Field(description="image, text, sound, video, music, or all.", examples=["image"])]
    n: Annotated[int, Field(ge=1, description="How many.")] = 1
    seed: Annotated[int, Field(ge=0, description="Same seed, same things, whatever n is.")] = 0
    options: Annotated[
        dict[str, int | float | str], Field(description="Of the family, such as steps or guidance.", examples=[{}])
    ] = {}


class Item(BaseModel):
    """A thing that was made."""

    index: Annotated[int, Field(description="Which of the n; things of one index belong together.")]
    kind: str
    mime: str
    data: Annotated[str, Field(description="A text as it is, all else the bytes of a file in base64.")]


class Answer(BaseModel):
    """What was made."""

    model: Annotated[str, Field(description="Name and version.")]
    items: list[Item]


def add_route(app: FastAPI, served: Served, name: str) -> None:
    """Add the route to MLflow's application; the pyfunc answers it as it does all else."""

    async def generate(asked: Asked) -> Answer:
        """Make things."""
        made = await asyncio.to_thread(_answers, served, asked)
        return Answer(
            model=name, items=[item for index, text in enumerate(made) for item in _items(index, asked.to, text)]
        )

    app.post("/v1/generate")(generate)


def _answers(served: Served, asked: Asked) -> list[str]:
    import pandas as pd

    row: dict[str, Any] = {
        **asked.given.model_dump(exclude_none=True),
        "to": asked.to,
        "n": asked.n,
        "seed": asked.seed,
    }
    if asked.options:
        row["options"] = asked.options
    return list(served.predict(pd.DataFrame([row]))[asked.to])


def _items(index: int, to: str, text: str) -> list[Item]:
    parts = json.loads(text) if to == "all" else {to: text}
    return [Item(index=index, kind=kind, mime=MIME[kind], data=data) for kind, data in parts.items()]
