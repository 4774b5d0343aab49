"""mkdocs.yml: the site's navigation leads to every page of docs/. `make docs` checks links, references and diagrams."""

from __future__ import annotations

from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
NAV = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
ENTRIES = [entry for section in NAV for entries in section.values() for entry in entries]


def test_the_navigation_leads_to_every_page_once() -> None:
    pages = sorted(path.name for path in (ROOT / "docs").glob("*.md"))

    assert sorted(entry for entry in ENTRIES if "/" not in entry) == pages


def test_no_module_and_no_decision_is_listed_by_hand() -> None:
    found = {entry for entry in ENTRIES if "/" in entry and not entry.startswith("project/")}

    assert found == {"reference/", "adr/"}
