"""Hook of MkDocs: Mermaid diagrams become SVG while the site is built.

Material would fetch Mermaid from a CDN when a page is viewed. Here a diagram that cannot be parsed fails the build.
"""

from __future__ import annotations

import re

import mermaidx
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

_FENCE = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_drawn: dict[str, list[str]] = {}


def draw(source: str, name: str) -> str:
    """The diagram as an SVG element whose styles hold for it alone.

    Raises:
        PluginError: Mermaid cannot read it.
    """
    try:
        svg = mermaidx.render(source, theme="neutral").svg()
    except RuntimeError as error:
        raise PluginError(f"{name}: {error}") from error
    return svg.replace("my-svg", name)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Draw each diagram of a page and leave an empty element in its place."""
    drawn = _drawn[page.file.src_uri] = []

    def placed(fence: re.Match[str]) -> str:
        number = len(drawn)
        drawn.append(draw(fence[1], f"{re.sub('[^a-z]+', '-', page.file.src_uri)}-{number}"))
        return f'<div class="diagram" data-diagram="{number}"></div>'

    return _FENCE.sub(placed, markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put the diagrams into their places: Markdown would change what is inside of them."""
    for number, svg in enumerate(_drawn.pop(page.file.src_uri)):
        html = html.replace(f' data-diagram="{number}"></div>', f">{svg}</div>")
    return html
