"""The `styles` data set: emoji in four drawing styles, aligned by concept, and unpaired where a model learns from them.

The `@iconify-json` packages hold the SVG drawings of Twemoji, OpenMoji, Fluent Emoji Flat and Noto Emoji by code point;
`resvg` renders them, and each is cut to what is drawn and scaled to fill 48 x 48 pixels but for a margin: the styles
leave different margins, which is no matter of style. Joined sequences (a person with a role, gender or skin tone) are
left out, since some styles draw several of them alike. Splits are drawn by a hash of the concept:
70 % train, 15 % test, 15 % judge. In `test` and `judge` a concept comes in all four styles. In `train` it comes either
in Twemoji and Noto, or in OpenMoji and Fluent: no drawing there has its counterpart in the other half, so that a model
which goes from one half to the other can only learn how the styles differ.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from mmgen.data.shards import Sample
from mmgen.errors import ConfigError, DataError

TITLE = "Emoji in four drawing styles"
PACKAGES = (
    "@iconify-json/twemoji",
    "@iconify-json/openmoji",
    "@iconify-json/fluent-emoji-flat",
    "@iconify-json/noto",
)
LICENCES = (
    {
        "what": "Twemoji drawings",
        "licence": "CC-BY-4.0",
        "credit": "Twemoji, copyright Twitter, Inc. and other contributors",
        "url": "https://github.com/jdecked/twemoji",
    },
    {
        "what": "OpenMoji drawings",
        "licence": "CC-BY-SA-4.0",
        "credit": "OpenMoji, the open-source emoji and icon project",
        "url": "https://github.com/hfg-gmuend/openmoji",
    },
    {
        "what": "Fluent Emoji Flat drawings",
        "licence": "MIT",
        "credit": "Microsoft Corporation",
        "url": "https://github.com/microsoft/fluentui-emoji",
    },
    {
        "what": "Noto Emoji drawings",
        "licence": "Apache-2.0",
        "credit": "Google Inc",
        "url": "https://github.com/googlefonts/noto-emoji",
    },
)
MODALITIES = ("image", "text")
LANGUAGES = ("en",)
SPLITS = ("train", "test", "judge")

STYLES = ("twemoji", "noto", "openmoji", "fluent-emoji-flat")
HALVES = (STYLES[:2], STYLES[2:])
"""A training concept comes in the styles of one of these."""
SIZE = 48
_FINE, _INNER = 144, 44
"""Pixels of a drawing as it is rendered, and of its longer side in the picture."""

_JOINED = frozenset({"200d", "1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"})
_ALIKE = frozenset(
    {"1f46e", "1f46f", "1f47f", "1f538", "1f539", "1f641", "1f64d", "25aa", "25ab", "25fb", "25fc", "25fd", "25fe"}
    | {"26aa", "26ab"}
)
"""Drawn in one style like another concept."""
_SHARES = (("train", 0.70), ("test", 0.85), ("judge", 1.0))


def samples(packages: dict[str, Path]) -> Iterator[tuple[str, Sample]]:
    """Yield (split, sample), concept by concept.

    Args:
        packages: the archive of each of `PACKAGES`, already checked by hash.

    Raises:
        ConfigError: the renderer is not installed.
        DataError: a package is not the one that this code was written for.
    """
    sets = {style: _icons(packages[f"@iconify-json/{style}"]) for style in STYLES}
    shared = set.intersection(*(set(names) for names, _ in sets.values()))
    for code in sorted(shared):
        name = sets["twemoji"][0][code].replace("-", " ")
        place = int(hashlib.sha256(f"styles:{code}".encode()).hexdigest()[:8], 16) / 2**32
        split = next(split for split, share in _SHARES if place < share)
        half = int(hashlib.sha256(f"half:{code}".encode()).hexdigest()[:8], 16) % 2
        for style in HALVES[half] if split == "train" else STYLES:
            names, icons = sets[style]
            facts = {"captions": {"en": name}, "concept": name, "group": style, "style": style}
            picture = _rendered(icons, names[code])
            text = json.dumps(facts, sort_keys=True).encode()
            yield split, Sample(f"{code}-{style}", {"png": picture, "txt": name.encode(), "json": text})


def _icons(archive: Path) -> tuple[dict[str, str], dict[str, Any]]:
    """Code points -> name, without joined sequences, and the drawings by name."""
    try:
        with tarfile.open(archive) as package:
            found = []
            for member in ("package/chars.json", "package/icons.json"):
                file = package.extractfile(member)
                assert file is not None
                found.append(json.load(file))
    except (KeyError, AssertionError, ValueError, tarfile.TarError) as error:
        raise DataError(f"{str(archive)!r} is not an icon set ({error}); delete it and build again") from error
    names, icons = found
    return {
        code: name
        for code, name in names.items()
        if name in icons["icons"] and not (_JOINED | _ALIKE) & set(code.split("-"))
    }, icons


def _rendered(icons: dict[str, Any], name: str) -> bytes:
    """A PNG on white, stored without compression: compressed bytes differ between builds of zlib."""
    try:
        from resvg_py import svg_to_bytes
    except ImportError as error:
        raise ConfigError("drawing SVG needs resvg-py; install it with: pip install 'mmgen[styles]'") from error

    icon = icons["icons"][name]
    left, top = icon.get("left", 0), icon.get("top", 0)
    width, height = (icon.get(side, icons.get(side, 16)) for side in ("width", "height"))
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{left} {top} {width} {height}">{icon["body"]}</svg>'
    )
    content = bytes(svg_to_bytes(svg_string=svg, width=_FINE, height=_FINE))
    drawn = Image.open(io.BytesIO(content)).convert("RGBA")
    drawn = ImageOps.contain(drawn.crop(drawn.getchannel("A").getbbox()), (_INNER, _INNER), Image.Resampling.LANCZOS)
    ground = Image.new("RGBA", (SIZE, SIZE), (255, 255, 255, 255))
    ground.alpha_composite(drawn, ((SIZE - drawn.width) // 2, (SIZE - drawn.height) // 2))
    buffer = io.BytesIO()
    ground.convert("RGB").save(buffer, format="PNG", compress_level=0)
    return buffer.getvalue()
