"""docs/limits.md: its numbers are those of the code, and no limit is missing."""

from __future__ import annotations

import importlib
import re
from typing import Any

import pytest

from tests.support.whole_run import ROOT

PAGE = (ROOT / "docs" / "limits.md").read_text()
ROWS = re.findall(r"^\| [^|]+ \| ([\d,]+)[^|]* \| `([a-z_.]+)\.([A-Z_]+)` \|$", PAGE, re.M)
READERS = (
    "errors", "files", "modalities.containers", "modalities.image", "modalities.video", "modalities.sound",
    "modalities.music", "modalities.text", "data.shards", "data.dataset", "data.imports.entry", "data.imports.folder",
    "data.imports.coco", "data.imports.parquet", "data.imports.webdataset",
)  # fmt: skip


def constants(module: str) -> dict[str, Any]:
    found = vars(importlib.import_module(f"mmgen.{module}"))
    return {name: value for name, value in found.items() if name.startswith("MAX_") and isinstance(value, int)}


@pytest.mark.parametrize(("number", "module", "name"), ROWS)
def test_a_number_on_the_page_is_that_of_the_code(number: str, module: str, name: str) -> None:
    assert int(number.replace(",", "")) == constants(module)[name]


def test_every_limit_of_a_reader_is_on_the_page() -> None:
    listed = {f"{module}.{name}" for _, module, name in ROWS}
    for module in READERS:
        source = (ROOT / "mmgen" / f"{module.replace('.', '/')}.py").read_text()
        own = [name for name in constants(module) if re.search(rf"^(MAX_\w+, )*{name}\b.* = ", source, re.M)]
        assert own, module
        assert {f"{module}.{name}" for name in own} <= listed
