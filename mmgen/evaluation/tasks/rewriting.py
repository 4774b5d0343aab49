"""Task `rewriting`: a model that turns a text into another, judged against what a person wrote.

Translations are asked from the first language into each other one: for texts that were learned, for compositions (known
words never put together) and for concepts (things never met). Beside them stands the score of handing the source back
(`_copy`). Summaries are asked for held-out descriptions; beside them stands the description's own beginning (`_lead`),
cut to the mean length of a synopsis. ROUGE is the F-score of common words (1) and of the longest common subsequence
(L): Lin 2004, W04-1013, on lower-case words without stemming.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmgen.data.corpus import Corpus, load_corpus
from mmgen.evaluation.tasks.captions import chrf
from mmgen.evaluation.tasks.task import Findings, Section, Subject
from mmgen.examples import Example, spread

if TYPE_CHECKING:
    from mmgen.models.seq2seq.model import Rewriter

TRANSLATIONS = {
    "text.exact_compositions": "new compositions translated exactly",
    "text.chrf_concepts": "chrF of new concepts",
    "text.chrf_copy_concepts": "the same for handing the source back",
    "text.exact_seen": "learned texts translated exactly",
    "text.chrf_compositions": "chrF of new compositions",
    "text.chrf_copy_compositions": "the same for handing the source back",
    "text.exact_concepts": "new concepts translated exactly",
    "text.chrf_seen": "chrF of learned texts",
}
SUMMARIES = {
    "text.rougeL_test": "ROUGE-L of summaries of held-out descriptions",
    "text.rougeL_lead_test": "the same for the description's first words",
    "text.rouge1_test": "ROUGE-1",
    "text.rouge1_lead_test": "the same for the description's first words",
    "text.chrf_test": "chrF",
    "text.chrf_lead_test": "the same for the description's first words",
    "text.exact_test": "summaries that are the synopsis, word by word",
    "text.rougeL_seen": "ROUGE-L of summaries of learned descriptions",
}
SHOWN = 24


@dataclass(frozen=True)
class Asked:
    """Texts of one split, what should be answered, what was, and what needs no model."""

    keys: list[str]
    sources: list[str]
    wanted: list[str]
    said: list[str]
    plain: list[str]
    language: list[str]


def evaluate(subject: Subject) -> Findings:
    """Ask every split."""
    model: Rewriter = subject.model  # type: ignore[assignment]
    summing = bool(model.config.source)
    splits = ("seen", "test") if summing else ("seen", "compositions", "concepts")
    subject.progress.start("evaluate", len(splits), "splits")
    scores: dict[str, list[float]] = {}
    sections, prompts = [], {}
    for number, split in enumerate(splits):
        corpus = load_corpus(subject.dataset, "train" if split == "seen" else split)
        limit = subject.recipe.evaluation.seen if split == "seen" else subject.recipe.evaluation.samples
        corpus = corpus.take(spread(len(corpus), min(len(corpus), limit)))
        asked = _summaries(subject, model, corpus) if summing else _translations(subject, model, corpus)
        scores |= _scores(asked, split, "lead" if summing else "copy")
        prompts[split] = asked.keys
        sections.append(_section(split, asked, model.pieces.languages))
        subject.progress.update(number + 1)
    subject.progress.done()
    headline = SUMMARIES if summing else TRANSLATIONS
    return Findings(headline, sections, scores, {}, prompts)


def rouge(said: str, wanted: str) -> tuple[float, float]:
    """ROUGE-1 and ROUGE-L of one text, F-scores from 0 to 1.

    >>> rouge("the cat sat", "the cat lay down")
    (0.5714285714285714, 0.5714285714285714)
    """
    a, b = (re.findall(r"\w+", text.lower()) for text in (said, wanted))
    if not a or not b:
        return 0.0, 0.0
    common = sum((Counter(a) & Counter(b)).values())
    longest = [0] * (len(b) + 1)
    for word in a:
        before = list(longest)
        for place, other in enumerate(b):
            longest[place + 1] = before[place] + 1 if word == other else max(before[place + 1], longest[place])
    return 2 * common / (len(a) + len(b)), 2 * longest[-1] / (len(a) + len(b))


def _translations(subject: Subject, model: Rewriter, corpus: Corpus) -> Asked:
    """From the first language into each other one."""
    first, *others = model.pieces.languages
    sources = corpus.captions(first)
    wanted, said = [], []
    for language in others:
        wanted += corpus.captions(language)
        options = {"source": first, "language": language}
        said += model.generate(
            {"text": sources}, "text", len(sources), seed=subject.recipe.evaluation.seed, options=options
        )
    every = sources * len(others)
    keys = [f"{key}:{language}" for language in others for key in corpus.keys]
    return Asked(keys, every, wanted, said, every, [language for language in others for _ in sources])


def _summaries(subject: Subject, model: Rewriter, corpus: Corpus) -> Asked:
    language = model.pieces.languages[0]
    bodies, wanted = [str(body) for body in corpus.values(model.config.source)], corpus.captions(language)
    said = model.generate({"text": bodies}, "text", len(bodies), seed=subject.recipe.evaluation.seed, options={})
    words = round(sum(len(text.split()) for text in wanted) / len(wanted))
    lead = [" ".join(body.split()[:words]) for body in bodies]
    return Asked(corpus.keys, bodies, wanted, said, lead, [language] * len(bodies))


def _scores(asked: Asked, split: str, plain: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for suffix, texts in (("", asked.said), (f"_{plain}", asked.plain)):
        both = [rouge(text, right) for text, right in zip(texts, asked.wanted, strict=True)]
        found[f"text.rouge1{suffix}_{split}"], found[f"text.rougeL{suffix}_{split}"] = (
            [one[kind] for one in both] for kind in (0, 1)
        )
        found[f"text.chrf{suffix}_{split}"] = chrf(texts, [[right] for right in asked.wanted])
        found[f"text.exact{suffix}_{split}"] = [
            float(text == right) for text, right in zip(texts, asked.wanted, strict=True)
        ]
    for language in dict.fromkeys(asked.language):
        rows = [row for row, name in enumerate(asked.language) if name == language]
        if len(rows) < len(asked.language):
            for name in ("exact", "chrf"):
                found[f"text.{name}_{split}_{language}"] = [found[f"text.{name}_{split}"][row] for row in rows]
    return found


def _section(split: str, asked: Asked, languages: Sequence[str]) -> Section:
    tiles = []
    for row in spread(len(asked.said), SHOWN):
        right = asked.said[row] == asked.wanted[row]
        remarks: list[tuple[str, bool | None]] = [(asked.said[row] or "(nothing)", right)]
        if not right:
            remarks.append((f"wanted: {asked.wanted[row]}", None))
        title = asked.sources[row] if len(asked.sources[row]) < 160 else asked.sources[row][:157] + "..."
        head = f"{asked.language[row]}: " if len(languages) > 1 else ""
        tiles.append(Example(head + title, {}, remarks))
    titles = {"seen": "Learned", "test": "Held out", "compositions": "New compositions", "concepts": "New concepts"}
    about = "The given text, below what the model made of it and, where that differs, what a person wrote."
    return Section(split, titles[split], about, tiles)
