"""Hook of MkDocs: the build fails when a page would fetch something from the network."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError

FETCHED = {"link": "href"} | dict.fromkeys(("script", "img", "iframe", "source", "audio", "video"), "src")
"""Elements that a browser fetches when it shows a page, and where their address stands."""


class Addresses(HTMLParser):
    """Collects the addresses outside of the site that a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the element's address when it leads to a server."""
        address = dict(attrs).get(FETCHED.get(tag, "")) or ""
        if address.startswith(("http:", "https:", "//")):
            self.outside.append(f"<{tag}> {address}")


def on_post_build(config: MkDocsConfig) -> None:
    """Look at every page that was built.

    Raises:
        PluginError: a page would fetch something; the message names the first few.
    """
    found = []
    for path in sorted(Path(config.site_dir).rglob("*.html")):
        addresses = Addresses()
        addresses.feed(path.read_text())
        found += [f"{path.relative_to(config.site_dir)}: {outside}" for outside in addresses.outside]
    for path in sorted(Path(config.site_dir).rglob("*.css")):
        text = path.read_text()
        if "url(http" in text or "@import" in text or "url(//" in text:
            found.append(f"{path.relative_to(config.site_dir)}: an address in a style sheet")
    if found:
        raise PluginError("the site would fetch from the network: " + "; ".join(found[:5]))
