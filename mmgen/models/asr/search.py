"""From probabilities of characters over time to text: prefix beam search with a character n-gram.

A path names a character or the blank at each step; a text has the sum over all paths that become it when repetitions
are merged and blanks dropped (Graves et al. 2006, section 3). The search keeps the likeliest prefixes, each with its
probability of ending in a blank and not (Hannun et al. 2014, arXiv:1408.2873, algorithm 1), and ranks them with an
n-gram and a bonus a character. The n-gram is interpolated by Witten and Bell (1991), over characters instead of words,
and counted from the training transcripts only.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

CHARACTERS = " 'abcdefghijklmnopqrstuvwxyz"
"""What can be heard; place 0 of the network's output is the blank, place k the k-th of these."""

_START, _END = "^", "$"
_LIKELY = 1e-3
"""Characters below this probability at a step are not tried there."""


class NGram:
    """Probability of the next character, given those before it.

    Args:
        texts: transcripts to count; each distinct one once.
        order: characters seen, the next one among them.
    """

    def __init__(self, texts: Iterable[str], order: int) -> None:
        self._order = order
        self._counts: dict[str, Counter[str]] = defaultdict(Counter)
        for text in sorted(set(texts)):
            whole = _START + text + _END
            for place in range(1, len(whole)):
                for length in range(min(order, place + 1)):
                    self._counts[whole[place - length : place]][whole[place]] += 1
        self._totals = {context: sum(counts.values()) for context, counts in self._counts.items()}
        self.log = lru_cache(maxsize=2**18)(self._log)

    def _log(self, before: str, character: str) -> float:
        """Natural logarithm of P(character | before); `character` may be `$`, the end."""
        context = (_START + before)[-(self._order - 1) :] if self._order > 1 else ""
        chance = 1 / (len(CHARACTERS) + 1)
        for start in range(len(context), -1, -1):
            counts = self._counts.get(context[start:])
            if counts is None:
                break
            kinds, total = len(counts), self._totals[context[start:]]
            chance = (counts[character] + kinds * chance) / (total + kinds)
        return math.log(chance)


def greedy(log_TK: NDArray[np.float32]) -> str:
    """The likeliest path's text."""
    path = log_TK.argmax(1)
    kept = [k for place, k in enumerate(path) if k and (place == 0 or path[place - 1] != k)]
    return " ".join("".join(CHARACTERS[k - 1] for k in kept).split())


def beam_search(log_TK: NDArray[np.float32], ngram: NGram, beam: int, weight: float, bonus: float) -> str:
    """The likeliest text of (T, K) log probabilities, with the n-gram's say."""
    beams: dict[str, tuple[float, float]] = {"": (0.0, -math.inf)}
    prior: dict[str, float] = {"": 0.0}
    for row in log_TK.astype(np.float64):
        tried = [int(k) for k in np.flatnonzero(row > math.log(_LIKELY)) if k]
        found: dict[str, tuple[float, float]] = {}
        for prefix, (blank, named) in beams.items():
            either = _add(blank, named)
            last = CHARACTERS.index(prefix[-1]) + 1 if prefix else 0
            _merge(found, prefix, either + row[0], named + row[last] if last else -math.inf)
            for k in tried:
                character = CHARACTERS[k - 1]
                if character == " " and (not prefix or prefix[-1] == " "):
                    continue
                longer = prefix + character
                if longer not in prior:
                    prior[longer] = prior[prefix] + weight * ngram.log(prefix, character) + bonus
                _merge(found, longer, -math.inf, (blank if k == last else either) + row[k])
        kept = sorted(found, key=lambda text: (-_add(*found[text]) - prior[text], text))[:beam]
        beams = {text: found[text] for text in kept}
    best = max(beams, key=lambda text: _add(*beams[text]) + prior[text] + weight * ngram.log(text, _END))
    return best.strip()


def _merge(found: dict[str, tuple[float, float]], text: str, blank: float, named: float) -> None:
    before = found.get(text, (-math.inf, -math.inf))
    found[text] = (_add(before[0], blank), _add(before[1], named))


def _add(a: float, b: float) -> float:
    """log(exp(a) + exp(b))."""
    if a < b:
        a, b = b, a
    return a if b == -math.inf else a + math.log1p(math.exp(b - a))
