"""What can be asked of a tune: kind, metre and key, as words and as header fields."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mmgen.data.sources.tunes import KINDS, METRES, MODES, key_name
from mmgen.errors import DataError, unknown

_METRE = re.compile(r"\b(\d{1,2}/\d{1,2})\b")
_KEY = re.compile(rf"\b([A-G])(?: (sharp|flat))? ({'|'.join(MODES.values())})\b")


@dataclass(frozen=True)
class Header:
    """Kind, metre and key of a tune."""

    kind: str
    metre: str
    key: str
    """As ABC writes it: D, F#m, Ador."""

    def abc(self, title: str) -> str:
        """The header fields."""
        unit = "1/16" if self.metre == "2/4" else "1/8"
        return f"X:1\nT:{title}\nR:{self.kind}\nM:{self.metre}\nL:{unit}\nK:{self.key}\n"

    def words(self) -> str:
        """As a request says it."""
        return f"{self.kind} in {key_name(self.key)}, {self.metre}"


def fitting(request: str, known: Sequence[Header]) -> list[Header]:
    """The known headers that a request in words leaves open, each as often as it is known.

    >>> known = [Header("jig", "6/8", "D"), Header("reel", "2/2", "G")]
    >>> [header.kind for header in fitting("something in D major", known)]
    ['jig']

    Raises:
        DataError: it names a kind, key or metre that no known tune has, or a combination that none has.
    """
    low = request.lower()
    kind = next((kind for kind in sorted(KINDS, key=len, reverse=True) if re.search(rf"\b{kind}\b", low)), None)
    metre, key = _METRE.search(request), _KEY.search(request)
    if metre and metre[1] not in METRES:
        raise DataError(unknown("metre", metre[1], METRES))
    wanted_key = None
    if key:
        mode = next(short for short, name in MODES.items() if name == key[3])
        wanted_key = key[1] + {"sharp": "#", "flat": "b", None: ""}[key[2]] + mode
        keys = sorted({header.key for header in known})
        if wanted_key not in keys:
            raise DataError(unknown("key", key[0], [key_name(name) for name in keys]))
    if not (kind or metre or key):
        raise DataError(f"{request[:60]!r} asks for nothing known; write it as: a jig in D major, 6/8")
    found = [
        header
        for header in known
        if (kind in (None, header.kind))
        and (wanted_key in (None, header.key))
        and (not metre or metre[1] == header.metre)
    ]
    # A key that no tune of this kind has is still asked of the model; metre goes with the kind.
    if not found and wanted_key:
        found = [
            Header(header.kind, header.metre, wanted_key)
            for header in known
            if kind in (None, header.kind) and (not metre or metre[1] == header.metre)
        ]
    if not found:
        raise DataError(f"no tune that was learned is {request[:60]!r}; ask for another metre of this kind")
    return found
