"""Texts as numbers of sub-words, and back: byte-pair encoding, on characters.

The most frequent pair of neighbouring pieces becomes a piece, again and again (Sennrich, Haddow and Birch 2016,
arXiv:1508.07909). A word begins with a mark for the space before it; pieces never cross words; between equally frequent
pairs the alphabet decides, so that the same texts give the same pieces. A character that no training text has is
`<unknown>`.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

PAD, END, UNKNOWN = 0, 1, 2
SPACE = "\u2581"
_SPECIAL = ("<pad>", "<end>", "<unknown>")
_WORD = re.compile(r"\u2581?(?:[^\W_]+|[^\w\u2581]|_)|\u2581")


class Pieces:
    """All pieces, and the merges that make them.

    Args:
        languages: each has a piece that begins a text.
        letters: characters of the training texts.
        merges: pairs in the order in which they are joined.
    """

    def __init__(self, languages: Sequence[str], letters: str, merges: Sequence[tuple[str, str]]) -> None:
        self.languages, self.letters = tuple(languages), letters
        self.merges = [(first, second) for first, second in merges]
        joined = (first + second for first, second in self.merges)
        self.pieces = [*_SPECIAL, *(f"<{language}>" for language in languages), *letters, *joined]
        self._number = {piece: number for number, piece in enumerate(self.pieces)}
        self._rank = {pair: rank for rank, pair in enumerate(self.merges)}
        self._known: dict[str, list[int]] = {}

    @classmethod
    def fit(cls, texts: Iterable[str], languages: Sequence[str], merges: int) -> Pieces:
        """The pieces of `texts`."""
        counts = Counter(word for text in texts for word in _words(text))
        words = [list(word) for word in counts]
        weights = list(counts.values())
        pairs: Counter[tuple[str, str]] = Counter()
        where: dict[tuple[str, str], set[int]] = defaultdict(set)
        for row, word in enumerate(words):
            for pair in pairwise(word):
                pairs[pair] += weights[row]
                where[pair].add(row)
        found: list[tuple[str, str]] = []
        for _ in range(merges):
            best = min(pairs, key=lambda pair: (-pairs[pair], pair), default=None)
            if best is None or pairs[best] < 2:
                break
            found.append(best)
            for row in sorted(where.pop(best)):
                for pair in pairwise(words[row]):
                    pairs[pair] -= weights[row]
                words[row] = _merged(words[row], best)
                for pair in pairwise(words[row]):
                    pairs[pair] += weights[row]
                    where[pair].add(row)
            del pairs[best]
        return cls(languages, "".join(sorted({letter for word in counts for letter in word})), found)

    def __len__(self) -> int:
        return len(self.pieces)

    def start(self, language: str) -> int:
        """The number that begins a text in a language."""
        return self._number[f"<{language}>"]

    def encode(self, text: str, language: str, length: int) -> list[int]:
        """`[language, pieces..., end]`, at most `length` long."""
        numbers = [number for word in _words(text) for number in self._of(word)]
        return [self.start(language), *numbers[: length - 2], END]

    def decode(self, numbers: Iterable[int]) -> str:
        """The text up to the first `<end>`, specials left out."""
        parts = []
        for number in numbers:
            if number == END:
                break
            if number >= len(_SPECIAL) + len(self.languages):
                parts.append(self.pieces[number])
        return "".join(parts).replace(SPACE, " ").strip()

    def _of(self, word: str) -> list[int]:
        if word not in self._known:
            parts = list(word)
            while len(parts) > 1:
                ranked = [self._rank.get(pair, len(self._rank)) for pair in pairwise(parts)]
                if min(ranked) == len(self._rank):
                    break
                parts = _merged(parts, self.merges[min(ranked)])
            self._known[word] = [self._number.get(part, UNKNOWN) for part in parts]
        return self._known[word]


def _words(text: str) -> list[str]:
    """Words and marks of a text, each with the space before it.

    >>> _words("red heart, big")
    ['\u2581red', '\u2581heart', ',', '\u2581big']
    """
    return _WORD.findall(SPACE + SPACE.join(text.split()))


def _merged(parts: list[str], pair: tuple[str, str]) -> list[str]:
    """Every neighbouring `pair` joined, from left to right."""
    found: list[str] = []
    place = 0
    while place < len(parts):
        if place + 1 < len(parts) and (parts[place], parts[place + 1]) == pair:
            found.append(pair[0] + pair[1])
            place += 2
        else:
            found.append(parts[place])
            place += 1
    return found
