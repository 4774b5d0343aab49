"""A section of the report: tiles that show and play what a model made.

Whatever the modality, a tile has a title, its things side by side and remarks below. A sound is a spectrogram with a
player, a tune a score with a player and its ABC, a video plays by itself.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

from mmgen.modalities import image
from mmgen.page import picture, safe


def section(found: dict[str, Any], folder: Path) -> str:
    """HTML of an entry of `examples.json`; its files lie in `folder`."""
    head = f"<h2>{safe(found['title'])}</h2><p class=soft>{safe(found['about'])}</p>"
    if not found["tiles"]:
        return f"{head}<div class=card>{picture((folder / found['sheet']).read_bytes(), found['title'])}</div>"
    wide = any(item["kind"] in ("sound", "music") for tile in found["tiles"] for item in tile["media"])
    most = max(len(tile["media"]) for tile in found["tiles"])
    size = " wide" if wide else " three" if most > 2 else ""
    tiles = "".join(_tile(tile, folder) for tile in found["tiles"])
    return f"{head}<div class='card tiles{size}'>{tiles}</div>"


def _tile(tile: dict[str, Any], folder: Path) -> str:
    things = " ".join(thing(item, folder) for item in tile["media"])
    lines = "".join(
        f"<br><span class={'soft' if right is None else 'ok' if right else 'no'}>{safe(line)}</span>"
        for line, right in tile["remarks"]
    )
    return f"<div>{things}<br><b>{safe(tile['title'])}</b>{lines}</div>"


def thing(item: dict[str, str], folder: Path) -> str:
    """HTML of one thing of a tile."""
    label, kind = item["label"], item["kind"]
    content = (folder / item["file"]).read_bytes()
    if kind == "image":
        return picture(content, label)
    if kind == "video":
        return picture(content, label, "image/webp")
    if kind == "text":
        return f"<q dir=auto>{safe(content.decode().strip())}</q>"
    # A spectrogram as PNG is as large as its sound.
    drawn = image.read((folder / item["picture"]).read_bytes(), item["picture"])
    shown = picture(image.encode(drawn, "WEBP"), label, "image/webp")
    player = _player(content if kind == "sound" else (folder / item["sound"]).read_bytes())
    notes = f"<details><summary>ABC</summary><pre>{safe(content.decode())}</pre></details>" if kind == "music" else ""
    return f"<figure class={kind}><figcaption>{safe(label)}</figcaption>{shown}{player}{notes}</figure>"


def _player(wav: bytes) -> str:
    """A player that holds its sound as Ogg Vorbis: a page of WAV files would be ten times as large."""
    import soundfile

    samples, rate = soundfile.read(io.BytesIO(wav), dtype="float32")
    packed = io.BytesIO()
    soundfile.write(packed, samples, rate, format="OGG", subtype="VORBIS")
    content = base64.b64encode(packed.getvalue()).decode()
    return f'<audio controls preload="none" src="data:audio/ogg;base64,{content}"></audio>'
