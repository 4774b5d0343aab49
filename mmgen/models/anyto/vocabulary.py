"""Captions as word numbers, and back.

A token is a word, a punctuation mark, or one character of a script written without spaces. Every caption
starts with its language (`<en>`) and ends with `<end>`; a word that training never saw becomes `<unknown>`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

PAD, END, UNKNOWN = 0, 1, 2
_SPECIAL = ("<pad>", "<end>", "<unknown>")
# Chinese characters, kana and Thai are written without spaces: each character is a token of its own.
_TOKEN = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]|[^\W_]+(?:[-'\u2019.][^\W_]+)*|[^\w\s]|_")
_UNSPACED = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]")


class Vocabulary:
    """All tokens of the training captions.

    Args:
        words: tokens in order; the specials and the languages come first.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self._number = {word: number for number, word in enumerate(self.words)}

    @classmethod
    def fit(cls, captions: Iterable[str], languages: Sequence[str]) -> Vocabulary:
        """The vocabulary of `captions`, in alphabetical order so that it depends on nothing else."""
        found = {word for caption in captions for word in split(caption)}
        return cls([*_SPECIAL, *(f"<{language}>" for language in languages), *sorted(found)])

    def grown(self, captions: Iterable[str], languages: Sequence[str]) -> Vocabulary:
        """This one, and behind it what it lacks of `captions` and `languages`: known words keep their numbers."""
        found = {word for caption in captions for word in split(caption)} | {f"<{language}>" for language in languages}
        return Vocabulary([*self.words, *sorted(found - self._number.keys())])

    def __len__(self) -> int:
        return len(self.words)

    def start(self, language: str) -> int:
        """The number that opens a caption in `language`."""
        return self._number[f"<{language}>"]

    def encode(self, caption: str, language: str, length: int) -> list[int]:
        """`[language, words..., end]` cut to `length` and padded to it."""
        numbers = [self.start(language)] + [self._number.get(word, UNKNOWN) for word in split(caption)]
        numbers = [*numbers[: length - 1], END]
        return numbers + [PAD] * (length - len(numbers))

    def decode(self, numbers: Iterable[int]) -> str:
        """The caption up to the first `<end>`, specials left out."""
        words = []
        for number in numbers:
            if number == END:
                break
            if not self.words[number].startswith("<"):
                words.append(self.words[number])
        return join(words)

    def unknown(self, caption: str) -> dict[str, str]:
        """Words of `caption` that training never saw, each with the nearest known word (or "")."""
        missing = [word for word in split(caption) if word not in self._number]
        return {word: next(iter(difflib.get_close_matches(word, self.words, n=1)), "") for word in missing}


def split(caption: str) -> list[str]:
    """Tokens of a caption.

    >>> split("man farmer, dark skin tone")
    ['man', 'farmer', ',', 'dark', 'skin', 'tone']
    """
    return _TOKEN.findall(caption)


def join(words: Sequence[str]) -> str:
    """The text of tokens: the inverse of `split` for captions written with plain spacing.

    >>> join(["man", "farmer", ",", "dark", "skin", "tone"])
    'man farmer, dark skin tone'
    """
    text = ""
    for word in words:
        glued = (
            not text
            or word in ",.!?;:)"
            or text[-1] == "("
            or bool(_UNSPACED.match(word) and _UNSPACED.match(text[-1]))
        )
        text += word if glued else f" {word}"
    return text
