"""The forty faults: what is broken, how, what must hold, and the tests that show it; writes docs/faults.md.

    python -m tests.faults.catalogue

A test of fault 31 is one in this folder whose name is in its row here, or begins with `test_31_`.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import yaml

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
PAGE = ROOT / "docs" / "faults.md"


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One row of the page."""

    number: int
    what: str
    injection: str
    holds: str
    tests: tuple[str, ...] = ()
    """Besides those whose names begin with the number."""
    elsewhere: tuple[str, ...] = ()
    """Tests in other folders, as `ops/runs/test_cache.py::test_name`."""
    open: str = ""
    """What is not shown."""


FAULTS = tuple(
    Fault(**{name: tuple(value) if isinstance(value, list) else value for name, value in row.items()})
    for row in yaml.safe_load((FOLDER / "faults.yaml").read_text())
)


def functions() -> dict[str, tuple[str, bool]]:
    """Name of every test in this folder -> its file, and whether `make test` leaves it out."""
    found = {}
    for path in sorted(FOLDER.glob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                marks = [ast.unparse(decorator) for decorator in node.decorator_list]
                found[node.name] = (path.name, any(mark.endswith((".minutes", ".slow")) for mark in marks))
    return found


def shown_by(fault: Fault, known: dict[str, tuple[str, bool]]) -> list[str]:
    """Names of the tests of a fault, in the order of their files."""
    named = [name for name in known if name in fault.tests or re.match(rf"test_{fault.number}_", name)]
    return sorted(named, key=lambda name: known[name][0])


def page() -> str:
    """docs/faults.md."""
    known = functions()
    lines = [
        "# Faults",
        "",
        "*Made by `python -m tests.faults.catalogue`, and held against the tests by a test.* Each fault is injected",
        "for real, in a child process where it kills something. `make test` runs the tests, `make faults` also those",
        "that take long (m). Protections that were removed to see their tests fail are listed in docs/log.md.",
        "",
        "| | fault | injected by | what holds | tests | not shown |",
        "|---|---|---|---|---|---|",
    ]
    for fault in FAULTS:
        names = shown_by(fault, known)
        files = dict.fromkeys(known[name][0] for name in names)
        told = [
            f"`{file}`: {sum(known[name][0] == file for name in names)}"
            + (f" ({slow} m)" if (slow := sum(known[name] == (file, True) for name in names)) else "")
            for file in files
        ]
        told += [f"`{place.partition('::')[0].rpartition('/')[2]}`: 1" for place in fault.elsewhere]
        lines.append(
            f"| {fault.number} | {fault.what} | {fault.injection} | {fault.holds} | {', '.join(told)} | {fault.open} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
