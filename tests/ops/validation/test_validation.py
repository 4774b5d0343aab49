"""Validation: real data passes; each of many ways to spoil it is stopped, by name, with exit code 20."""

from __future__ import annotations

import io
import json
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmgen.data.config import LANGUAGES, DataConfig
from mmgen.data.dataset import CARD, load
from mmgen.data.shards import Sample
from mmgen.errors import ConfigError, DataError
from mmgen.ops.validation.checks import validate
from mmgen.recipes import Recipe

Splits = dict[str, list[Sample]]

pytestmark = pytest.mark.usefixtures("great_expectations")


def recipe(**data: Any) -> Recipe:
    return Recipe(name="emoji", model=None, data=DataConfig(**data))


def put(splits: Splits, place: int, split: str = "train", **parts: bytes | None) -> None:
    """Replace parts of one sample; None removes a part."""
    old = splits[split][place]
    changed = {**old.parts, **parts}
    splits[split][place] = Sample(old.key, {name: part for name, part in changed.items() if part is not None})


def tell(splits: Splits, place: int, split: str = "train", **facts: object) -> None:
    """Replace facts of one sample's json part."""
    old = splits[split][place].facts()
    put(splits, place, split, json=json.dumps(old | facts).encode())


def caption(splits: Splits, place: int, text: str | None) -> None:
    """Replace the English caption in both places."""
    captions = {**splits["train"][place].facts()["captions"], "en": text}
    tell(splits, place, captions=captions)
    if text is not None:
        put(splits, place, txt=text.encode())


def picture(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def bomb() -> bytes:
    """A small PNG that claims 60,000 x 60,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


def animated() -> bytes:
    frames = [Image.new("RGB", (72, 72), colour) for colour in ("red", "blue")]
    return picture(frames[0], "WEBP", save_all=True, append_images=frames[1:])


def saved_again(splits: Splits) -> None:
    """A training picture, as a JPEG, in the judge's split."""
    with Image.open(io.BytesIO(splits["train"][0].parts["png"])) as opened:
        coloured = opened.convert("RGBA")
    ground = Image.new("RGBA", coloured.size, "white")
    ground.alpha_composite(coloured)
    put(splits, 0, "judge", png=None, jpg=picture(ground.convert("RGB"), "JPEG", quality=90))


def same_key(splits: Splits) -> None:
    splits["judge"][0] = Sample(splits["train"][0].key, splits["judge"][0].parts)


def same_caption(splits: Splits) -> None:
    text = splits["train"][0].parts["txt"]
    captions = {**splits["concepts"][0].facts()["captions"], "en": text.decode()}
    tell(splits, 0, "concepts", captions=captions)
    put(splits, 0, "concepts", txt=text)


def same_picture(split: str) -> Callable[[Splits], None]:
    return lambda splits: put(splits, 0, split, png=splits["train"][0].parts["png"])


def few(split: str) -> Callable[[Splits], None]:
    return lambda splits: splits.update({split: splits[split][:10]})


def without_flags(splits: Splits) -> None:
    splits["train"] = [sample for sample in splits["train"] if sample.facts()["group"] != "flags"]


FLAT = picture(Image.new("RGBA", (72, 72), (0, 0, 0, 0)))
SMALL = picture(Image.effect_noise((4, 72), 90))
CHANGES: dict[str, tuple[str, Callable[[Splits], None]]] = {
    "an empty picture": ("picture_readable", lambda s: put(s, 0, png=b"")),
    "a picture cut short": ("picture_readable", lambda s: put(s, 0, png=s["train"][0].parts["png"][:200])),
    "a web page as a picture": ("picture_readable", lambda s: put(s, 0, png=b"<html>404 not found</html>")),
    "an animated picture": ("picture_readable", lambda s: put(s, 0, png=animated())),
    "a picture of 3.6 gigapixels": ("picture_readable", lambda s: put(s, 0, png=bomb())),
    "a sample without a picture": ("picture_readable", lambda s: put(s, 0, png=None)),
    "a sample with two pictures": ("picture_readable", lambda s: put(s, 0, jpg=s["train"][1].parts["png"])),
    "a picture 4 pixels wide": ("picture_width", lambda s: put(s, 0, png=SMALL)),
    "a fully transparent picture": ("picture_not_blank", lambda s: put(s, 0, png=FLAT)),
    "a json part cut short": ("facts_readable", lambda s: put(s, 0, json=s["train"][0].parts["json"][:40])),
    "a json part that is a list": ("facts_readable", lambda s: put(s, 0, json=b"[1, 2]")),
    "a json part nested too deep": ("facts_readable", lambda s: put(s, 0, json=b"[" * 100_000)),
    "a sample without a concept": ("concept_present", lambda s: tell(s, 0, concept="")),
    "a sample whose group is a number": ("group_present", lambda s: tell(s, 0, group=7)),
    "a missing txt part": ("text_readable", lambda s: put(s, 0, txt=None)),
    "a txt part in Latin-1": ("text_readable", lambda s: put(s, 0, txt="café".encode("latin-1"))),
    "a txt part that says something else": ("text_agrees", lambda s: put(s, 0, txt=b"something else")),
    "a missing caption": ("caption_present_en", lambda s: caption(s, 0, None)),
    "captions that are no object": ("caption_present_en", lambda s: tell(s, 0, captions=["red heart"])),
    "a caption of 450 characters": ("caption_length_en", lambda s: caption(s, 0, "very " * 89 + "big")),
    "a caption with a terminal escape": ("text_readable", lambda s: caption(s, 0, "red \x1b[31mheart")),
    "a caption that reverses its letters": ("text_readable", lambda s: caption(s, 0, "red \u202etraeh")),
    "half a surrogate pair in the json part": (
        "caption_clean_en",
        lambda s: tell(s, 0, captions={"en": "heart \ud83d"}),
    ),
    "a caption in another script": ("caption_language_en", lambda s: caption(s, 0, "красное сердце")),
    "a key in two splits": ("key_unique", same_key),
    "a training picture among the held-out concepts": ("picture_not_shared", same_picture("concepts")),
    "a training picture among the compositions": ("picture_not_shared", same_picture("compositions")),
    "a training picture saved again for the judge": ("picture_not_copied", saved_again),
    "a training concept among the held-out ones": (
        "concept_held_out",
        lambda s: tell(s, 0, "concepts", concept=s["train"][0].facts()["concept"]),
    ),
    "a training caption among the held-out ones": ("caption_held_out", same_caption),
    "a judge's split of ten samples": ("counts_enough", few("judge")),
    "a group that only the judge has": ("counts_enough", without_flags),
}


@pytest.mark.parametrize("name", CHANGES)
def test_spoilt_samples_are_stopped(name: str, changed: Callable[[Any], Path], tmp_path: Path) -> None:
    expectation, change = CHANGES[name]
    folder = changed(change)

    verdict, message = refused(folder, tmp_path)

    failed = {item["name"]: item for item in verdict["expectations"] if not item["success"]}
    assert expectation in failed
    assert failed[expectation]["unexpected"] == len(failed[expectation]["rows"]) == len(failed[expectation]["reasons"])
    first = next(iter(failed.values()))
    assert first["name"] in message
    assert first["rows"][0] in message


FILES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a shard cut short": ("train-00001.tar", lambda f: cut(f / "train-00001.tar")),
    "one flipped bit in a shard": ("judge-00000.tar", lambda f: flip(f / "judge-00000.tar")),
    "a missing shard": ("concepts-00002.tar", lambda f: (f / "concepts-00002.tar").unlink()),
    "a shard that is not on the card": (
        "train-00009.tar",
        lambda f: shutil.copy(f / "train-00000.tar", f / "train-00009.tar"),
    ),
    "a link in place of a shard": ("train-00000.tar", lambda f: link(f / "train-00000.tar")),
    "a card cut short": (CARD, lambda f: cut(f / CARD)),
    "no card": (CARD, lambda f: (f / CARD).unlink()),
    "a card with wrong counts": (CARD, lambda f: edit_card(f, lambda c: c["splits"]["train"].update(samples=7))),
    "a card that points out of its folder": (
        CARD,
        lambda f: edit_card(f, lambda c: c["splits"]["train"]["shards"][0].update(file="../../etc/passwd")),
    ),
    "no licence": (CARD, lambda f: edit_card(f, lambda c: c.update(licences=[]))),
    "a licence without a name": ("pictures", lambda f: edit_card(f, lambda c: c["licences"][0].update(licence=" "))),
    "a licence without credit": ("captions", lambda f: edit_card(f, lambda c: c["licences"][1].pop("credit"))),
    "a licence without an address": ("pictures", lambda f: edit_card(f, lambda c: c["licences"][0].update(url="CC"))),
}


@pytest.mark.parametrize("name", FILES)
def test_spoilt_files_are_stopped(name: str, tiny_emoji: Path, tmp_path: Path) -> None:
    row, spoil = FILES[name]
    folder = shutil.copytree(tiny_emoji, tmp_path / "emoji")
    spoil(folder)

    verdict, message = refused(folder, tmp_path)

    assert row in next(item for item in verdict["expectations"] if not item["success"])["rows"]
    assert row in message


def refused(folder: Path, tmp_path: Path, **data: Any) -> tuple[dict[str, Any], str]:
    """The verdict and the one-line message of a data set that must be refused."""
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(DataError) as caught:
        validate(folder, recipe(**data), out)
    message = str(caught.value)
    assert caught.value.exit_code == 20
    assert message.isprintable()
    verdict = json.loads((out / "validation.json").read_text())
    assert verdict["success"] is False
    assert "Refused" in (out / "validation.html").read_text()
    return verdict, message


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[700] ^= 1
    path.write_bytes(content)


def link(path: Path) -> None:
    path.rename(path.parent.parent / "elsewhere.tar")
    path.symlink_to(path.parent.parent / "elsewhere.tar")


def edit_card(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads((folder / CARD).read_text())
    change(value)
    (folder / CARD).write_text(json.dumps(value))


def test_the_whole_emoji_data_set_meets_every_expectation_in_all_languages(emoji: Path, tmp_path: Path) -> None:
    verdict = validate(emoji, recipe(languages=LANGUAGES), tmp_path)

    assert verdict["success"] is True
    assert verdict["samples"] == 3953
    assert verdict == json.loads((tmp_path / "validation.json").read_text())
    assert "Accepted" in (tmp_path / "validation.html").read_text()


def test_the_whole_digits_data_set_meets_every_expectation(digits: Path, tmp_path: Path) -> None:
    assert validate(digits, recipe(name="digits"), tmp_path)["success"] is True


def test_the_same_data_give_the_same_bytes(tiny_emoji: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        validate(tiny_emoji, recipe(), tmp_path / name)

    for file in ("validation.json", "validation.html"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()


def test_bad_training_samples_are_set_aside_within_the_budget(changed: Callable[[Any], Path], tmp_path: Path) -> None:
    def spoil(splits: Splits) -> None:
        put(splits, 3, png=b"not a picture")
        caption(splits, 5, "red \x07 heart")

    folder = changed(spoil)
    keys = {load(folder).split("train")[place].key for place in (3, 5)}

    verdict = validate(folder, recipe(quarantine=0.05), tmp_path)

    assert verdict["success"] is True
    assert {item["key"] for item in verdict["quarantined"]} == keys
    assert all(item["split"] == "train" and item["reason"] for item in verdict["quarantined"])
    assert "Set aside" in (tmp_path / "validation.html").read_text()
    assert sum(verdict["groups"]["train"].values()) == 58


def test_more_bad_samples_than_the_budget_stop_the_run(changed: Callable[[Any], Path], tmp_path: Path) -> None:
    folder = changed(lambda splits: [put(splits, place, png=b"not a picture") for place in range(4)])

    verdict, _ = refused(folder, tmp_path, quarantine=0.05)

    assert verdict["quarantined"] == []


def test_the_budget_is_for_training_samples_only(changed: Callable[[Any], Path], tmp_path: Path) -> None:
    folder = changed(lambda splits: put(splits, 0, "judge", png=b"not a picture"))

    verdict, message = refused(folder, tmp_path, quarantine=0.1)

    assert "judge/" in message
    assert verdict["quarantined"] == []


def test_the_page_escapes_what_the_data_say_and_asks_nothing_of_other_hosts(
    changed: Callable[[Any], Path], tmp_path: Path
) -> None:
    hostile = "<script>alert(1)</script>"
    folder = changed(lambda splits: [tell(splits, 0, group=hostile), put(splits, 0, txt=hostile.encode())])

    refused(folder, tmp_path)

    page = (tmp_path / "out" / "validation.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert 'src="http' not in page
    assert "<link" not in page
    assert "@import" not in page


def test_a_caption_language_that_the_data_set_lacks_is_a_configuration_error(digits: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown caption language 'de'"):
        validate(digits, recipe(name="digits", languages=("de",)), tmp_path)


def test_abbreviations_pass_in_every_script_and_foreign_words_do_not(
    changed: Callable[[Any], Path], tmp_path: Path
) -> None:
    def translate(splits: Splits) -> None:
        for place, text in enumerate(("DVD", "FREE按钮", "a red heart")):
            captions = splits["train"][place].facts()["captions"] | {"zh": text}
            tell(splits, place, captions=captions)

    folder = changed(translate)
    third = load(folder).split("train")[2].key

    verdict, _ = refused(folder, tmp_path, languages=("en", "zh"))

    failed = [item for item in verdict["expectations"] if not item["success"]]
    assert [(item["name"], item["rows"]) for item in failed] == [("caption_language_zh", [f"train/{third}"])]


def test_a_touched_up_picture_counts_as_a_copy_and_another_skin_tone_does_not(
    changed: Callable[[Any], Path], tmp_path: Path
) -> None:
    def touch_up(splits: Splits) -> None:
        for place, split in enumerate(("concepts", "compositions")):  # in the second it is legal
            with Image.open(io.BytesIO(splits["train"][place].parts["png"])) as opened:
                pixels = np.asarray(opened.convert("RGBA")).copy()
            pixels[0, 0] = (10, 10, 10, 255)
            put(splits, 0, split, png=picture(Image.fromarray(pixels)))

    folder = changed(touch_up)
    key = load(folder).split("concepts")[0].key

    verdict, _ = refused(folder, tmp_path)

    failed = {item["name"]: item["rows"] for item in verdict["expectations"] if not item["success"]}
    assert failed["picture_not_copied"] == [f"concepts/{key}"]


def test_validation_prints_nothing(tiny_emoji: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from mmgen.recipes import Recipe;"
        "from mmgen.ops.validation.checks import validate;"
        "validate(Path(sys.argv[1]), Recipe(name='emoji', model=None), Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", program, str(tiny_emoji), str(tmp_path)]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
