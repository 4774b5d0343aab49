"""Hook of MkDocs: pages that the tree holds already, so that nobody has to list them.

A page for each module of our packages, the records of decisions, and the pages at the top of the repository. Links are
written for the repository, where they work as well; here they are turned into those of the site.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("mmgen", "components", "pipelines")
OUTSIDE = {
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "CHANGELOG.md": "project/changelog.md",
    "benchmarks/README.md": "project/benchmarks.md",
}
"""Pages that lie outside of docs/ -> where they lie on the site."""

_LINK = re.compile(r"\[([^\]\[]*)\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")


def module_page(path: Path) -> str:
    """Where the page of a module lies on the site; a package is the front of its folder."""
    inside = path.relative_to(ROOT).with_suffix(".md")
    name = "index.md" if inside.name == "__init__.md" else inside.name
    return (Path("reference") / inside.parent / name).as_posix()


def modules(folder: Path) -> Iterator[Path]:
    """The modules of a package, its own file first, then its folders."""
    yield folder / "__init__.py"
    for path in sorted(folder.iterdir()):
        if path.suffix == ".py" and not path.name.startswith("__"):
            yield path
    for path in sorted(folder.iterdir()):
        if (path / "__init__.py").is_file():
            yield from modules(path)


def reference(folder: Path) -> list[Any]:
    """The navigation of a package: its own page, its modules, its folders."""
    own = [module_page(path) for path in modules(folder) if path.parent == folder]
    below = [{path.name: reference(path)} for path in sorted(folder.iterdir()) if (path / "__init__.py").is_file()]
    return [*own, *below]


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Replace the folders of the navigation by what lies in them."""
    found = {
        "reference/": [{name: reference(ROOT / name)} for name in PACKAGES],
        "adr/": [f"adr/{path.name}" for path in sorted((ROOT / "docs" / "adr").glob("*.md"))],
    }
    for section in config.nav or []:
        for title, entries in section.items():
            section[title] = [page for entry in entries for page in found.get(entry, [entry])]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that do not lie in docs/."""
    for name in PACKAGES:
        for path in modules(ROOT / name):
            dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            title = dotted if path.name == "__init__.py" else path.stem
            content = f"---\ntitle: {title}\n---\n\n::: {dotted}\n"
            files.append(File.generated(config, module_page(path), content=content))
    for source, uri in OUTSIDE.items():
        files.append(File.generated(config, uri, content=(ROOT / source).read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links of the repository into links of the site; a file that is no page keeps its name, without a link."""
    here = page.file.src_uri
    source = {uri: path for path, uri in OUTSIDE.items()}.get(here, f"docs/{here}")

    def translated(link: re.Match[str]) -> str:
        text, target, anchor = link[1], link[2], link[3] or ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        uri = OUTSIDE.get(path, path.removeprefix("docs/") if path.startswith("docs/") else None)
        if uri in (None, "adr") and (ROOT / path).exists():
            return text if path.endswith(("LICENSE", "NOTICE")) or text.startswith("`") else f"`{path}`"
        return f"[{text}]({posixpath.relpath(uri or path, posixpath.dirname(here))}{anchor})"

    return _LINK.sub(translated, markdown)
