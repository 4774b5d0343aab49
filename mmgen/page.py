"""One HTML page that needs nothing from outside: no scripts, no fonts, no links to other hosts.

Kubeflow shows such a page in a sandbox, mail programs attach it, a browser opens it from disk.
"""

from __future__ import annotations

import base64
import html

_STYLE = """
:root { color-scheme: light; --ink: #1f2933; --soft: #667380; --line: #e3e8ed; --good: #1c7c4a; --bad: #b3261e;
  --aside: #8a5a00; --bar: #4a7fb5 }
body { margin: 0; background: #f5f7f9; color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", Roboto, sans-serif }
main { max-width: 1040px; margin: 0 auto; padding: 32px 24px 64px }
h1 { font-size: 24px; margin: 0 } h2 { font-size: 17px; margin: 40px 0 12px } h3 { font-size: 15px; margin: 0 0 8px }
p { margin: 4px 0 } .soft { color: var(--soft) } code { font: 13px ui-monospace, Menlo, Consolas, monospace }
.card { background: #fff; border: 1px solid var(--line); border-radius: 10px; padding: 20px 24px }
.card + .card { margin-top: 16px } .card > img { max-width: 100%; display: block; margin: auto }
.verdict { border-left: 6px solid var(--good); display: flex; gap: 16px 40px; flex-wrap: wrap; margin-top: 16px }
.verdict.bad { border-left-color: var(--bad) } .verdict.open { border-left-color: var(--aside) }
.verdict b { display: block; font-size: 21px } .verdict .said { color: var(--good) }
.bad .said { color: var(--bad) } .open .said { color: var(--aside) }
table { border-collapse: collapse; width: 100% } th { text-align: left; font-weight: 600; color: var(--soft) }
th, td { padding: 6px 12px 6px 0; border-bottom: 1px solid var(--line); vertical-align: top }
tr:last-child td { border-bottom: 0 } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
.mark { font-weight: 600; white-space: nowrap } .ok { color: var(--good) } .no { color: var(--bad) }
.aside { color: var(--aside) }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(146px, 1fr)); gap: 14px 10px }
.tiles div { font-size: 12.5px; line-height: 1.35; overflow-wrap: anywhere }
.tiles img { width: 70px; height: 70px; border: 1px solid var(--line); border-radius: 5px; background: #fff }
.tiles.wide { grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)) }
.tiles.three { grid-template-columns: repeat(auto-fill, minmax(228px, 1fr)) }
.wide img { width: 100%; height: auto } .sound img { height: 110px } .wide audio { width: 100%; height: 32px }
.wide figure { margin-bottom: 6px } pre { white-space: pre-wrap; font-size: 11px } q { font-size: 14px }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(320px, 1fr)); gap: 16px }
.two .card + .card { margin-top: 0 }
figure { margin: 0 } figcaption { color: var(--soft); font-size: 13px }
"""


def page(title: str, body: list[str], style: str = "") -> str:
    """A whole page; `body` parts are HTML already, `style` is added to the common one."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{safe(title)}</title><style>{_STYLE}{style}</style></head>\n<body><main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main></body></html>\n"
    )


def safe(value: object) -> str:
    """Text that cannot be taken for HTML."""
    return html.escape(str(value))


def picture(content: bytes, alt: str, kind: str = "image/png") -> str:
    """An image that stands inside the page."""
    return f'<img alt="{safe(alt)}" src="data:{kind};base64,{base64.b64encode(content).decode()}">'
