"""Texts against references; and task `captions`: a model that describes pictures and does nothing else.

`caption_scores` and `bleu4` serve every task that compares texts. The task asks for captions three ways: pictures it
has seen, compositions it has not (a known role, person and skin tone never shown together), and concepts it has never
met; of imported data, pictures it has seen and the `test` split. Two checks stand beside the scores: `text.distinct`,
since a captioner that says the same of everything has learned only the language, and `text.chrf_shuffled`, the score of
captions against the references of other pictures, which is what a model gets without looking.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from mmgen.data.corpus import Corpus, load_corpus
from mmgen.data.order import generator
from mmgen.evaluation.tasks.task import Findings, Metric, Section, Subject
from mmgen.examples import Example, spread
from mmgen.inspection import attribution, failures
from mmgen.inspection.attention import Attends, attention
from mmgen.modalities.image import Picture
from mmgen.models.base import Model

SPLITS = {
    "seen": ("Seen pictures", "Pictures of the training set, described again. Right answers are memory."),
    "compositions": ("Held-out compositions", "Known roles, persons and skin tones that were never shown together."),
    "concepts": ("Held-out concepts", "Things that the model has never met. Reported, not expected."),
    "test": ("Held-out samples", "Of the same kind as the training samples, never shown to the model."),
}
"""`seen` is a fixed sample of the training split; the others are whole splits, where the data set has them."""

HEADLINE = {
    "text.exact_seen": "seen pictures described exactly",
    "text.exact_compositions": "new compositions described exactly",
    "text.chrf_seen": "chrF of seen pictures",
    "text.chrf_compositions": "chrF of new compositions",
    "text.chrf_concepts": "chrF of new concepts",
    "text.cider_seen": "CIDEr-D of seen pictures",
    "text.cider_compositions": "CIDEr-D of new compositions",
    "text.bleu4_seen": "BLEU-4 of seen pictures",
    "text.bleu4_compositions": "BLEU-4 of new compositions",
    "text.chrf_test": "chrF of held-out pictures",
    "text.exact_test": "held-out pictures described exactly",
    "text.exact_concepts": "new concepts described exactly",
    "text.distinct_seen": "captions that differ, of seen pictures",
    "text.chrf_shuffled": "chrF against captions of other pictures",
}

SHOWN, LOOKED_INTO = 32, 8
NGRAMS, LENGTH_SIGMA = 4, 6.0
"""CIDEr-D: longest n-gram, and words of difference in length that cost about 40 %."""

# As in the vocabulary of captions: Chinese characters, kana and Thai are written without spaces.
_WORD = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]|[^\W_]+(?:[-'\u2019.][^\W_]+)*")


@dataclass(frozen=True)
class Told:
    """What a model said of one split; every list has one entry a picture."""

    asked: Corpus
    real: list[Picture]
    captions: list[str]
    said: list[str]
    references: list[list[str]]
    """Captions that are right for it: pictures can be identical."""


def evaluate(subject: Subject) -> Findings:
    """Describe what was seen, and every held-out split that the data set has."""
    recipe = subject.recipe
    language, size = recipe.data.languages[0], subject.model.config.image_px
    splits = subject.splits(SPLITS)
    subject.progress.start("evaluate", len(splits), "splits")
    train = load_corpus(subject.dataset, "train")
    told: dict[str, Told] = {}
    for number, split in enumerate(splits):
        if split == "seen":
            asked, pool = train.take(seen_rows(len(train), recipe.evaluation.seen)), [train]
        else:
            asked = load_corpus(subject.dataset, split)
            pool = [train, asked]
        real = asked.images(size)
        said = subject.model.generate(
            {"image": real}, "text", len(real), seed=recipe.evaluation.seed, options={"language": language}
        )
        told[split] = Told(asked, real, asked.captions(language), said, right_captions(asked, pool, language, size))
        subject.progress.update(number + 1)
    scores: dict[str, list[float]] = {}
    metrics: dict[str, Metric] = {}
    for split, given in told.items():
        found = caption_scores(given.said, given.references) | {"distinct": distinct(given.said)}
        scores |= {f"text.{name}_{split}": values for name, values in found.items()}
        metrics[f"text.bleu4_{split}"] = bleu4(given.said, given.references, subject.rng(), recipe.evaluation.resamples)
    scores["text.chrf_shuffled"] = chrf(shuffled(told["seen"].said), told["seen"].references)
    subject.progress.done()
    sections = [_section(split, given) for split, given in told.items()]
    sections += [_failures(told.get("test", told["seen"])), *_inside(subject.model, told[splits[1]])]
    return Findings(
        headline={name: what for name, what in HEADLINE.items() if name in scores or name in metrics},
        sections=sections,
        scores=scores,
        metrics=metrics,
        prompts={split: given.asked.keys for split, given in told.items()},
        groups=groups_of(scores, {split: given.asked for split, given in told.items()}),
    )


def seen_rows(samples: int, most: int) -> list[int]:
    """The training samples that every task on captions asks: at most half, so that others stay to compare with."""
    order = torch.randperm(samples, generator=generator("evaluation", "seen"))
    return order[: min(most, samples // 2)].tolist()


def groups_of(scores: Iterable[str], asked: Mapping[str, Corpus]) -> dict[str, list[str]]:
    """Group of each prompt for every score whose name ends in the split that was asked."""
    found = {}
    for name in scores:
        split = name.rpartition("_")[2]
        if split in asked:
            found[name] = asked[split].groups
    return found


def caption_scores(said: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, list[float]]:
    """Scores of each text against its references: `exact` (0 or 1), `chrf` (0 to 100) and `cider` (0 to 10).

    Raises:
        ValueError: as many texts as lists of references are wanted, and no list empty.
    """
    if len(said) != len(references) or not all(references):
        raise ValueError(f"{len(said)} texts and {len(references)} lists of references; want one for each, none empty")
    exact = [float(text in right) for text, right in zip(said, references, strict=True)]
    return {"exact": exact, "chrf": chrf(said, references), "cider": cider(said, references)}


def chrf(said: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """F-score of character n-grams, 0 to 100, of each text (Popovic 2015, W15-3049), by sacrebleu."""
    from sacrebleu.metrics import CHRF

    metric = CHRF()
    return [metric.sentence_score(text, list(right)).score for text, right in zip(said, references, strict=True)]


def bleu4(said: Sequence[str], references: Sequence[Sequence[str]], rng: np.random.Generator, resamples: int) -> Metric:
    """BLEU of the whole set, 0 to 100, with a bootstrap interval over texts (Papineni et al. 2002, P02-1040).

    sacrebleu counts and tokenises (`13a`); scripts that are written without spaces are better read by chrF.
    """
    from sacrebleu.metrics import BLEU

    metric = BLEU(effective_order=True)
    counted = [metric.sentence_score(text, list(right)) for text, right in zip(said, references, strict=True)]
    counts_N10 = np.array([[*one.counts, *one.totals, one.sys_len, one.ref_len] for one in counted])

    def score(total: NDArray[np.int64]) -> float:
        right, tried, (length, reference_length) = total[:4].tolist(), total[4:8].tolist(), total[8:].tolist()
        return float(BLEU.compute_bleu(right, tried, length, reference_length).score)

    drawn = [score(counts_N10[rng.integers(0, len(said), len(said))].sum(0)) for _ in range(resamples)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {"value": score(counts_N10.sum(0)), "low": float(low), "high": float(high), "n": len(said)}


def cider(said: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """CIDEr-D of each text, 0 to 10: likeness of n-grams that count the more the fewer pictures have them.

    Source: Vedantam et al. 2015, arXiv:1411.5726, eq. 2 to 4 and section 6.2. As in the authors' code a text of fewer
    than four words has no 4-grams and gets nothing for them, so that an exact text of two words scores 5. Unlike
    there, texts are cut into words by a rule of our own rather than by a Java program.
    """
    right = [[_ngrams(text) for text in texts] for texts in references]
    seen = Counter(gram for texts in right for gram in {gram for counts in texts for gram in counts})
    rarity = {gram: math.log(len(references) / count) for gram, count in seen.items()}
    unseen = math.log(len(references))

    def weighed(counts: Counter[tuple[str, ...]]) -> list[dict[tuple[str, ...], float]]:
        vectors: list[dict[tuple[str, ...], float]] = [{} for _ in range(NGRAMS)]
        for gram, count in counts.items():
            vectors[len(gram) - 1][gram] = count * rarity.get(gram, unseen)
        return vectors

    scores = []
    for text, texts in zip(said, right, strict=True):
        counts = _ngrams(text)
        own, likeness = weighed(counts), 0.0
        for other in texts:
            gap = sum(n for gram, n in counts.items() if len(gram) == 1)
            gap -= sum(n for gram, n in other.items() if len(gram) == 1)
            near = math.exp(-(gap**2) / (2 * LENGTH_SIGMA**2))
            likeness += near * sum(map(_cosine, own, weighed(other))) / NGRAMS
        scores.append(10 * likeness / len(texts))
    return scores


def distinct(said: Sequence[str]) -> list[float]:
    """1 / (how many texts are the same as it) for each text: the mean is the share of texts that differ.

    >>> distinct(["a heart", "a heart", "a cat"])
    [0.5, 0.5, 1.0]
    """
    count = Counter(said)
    return [1 / count[text] for text in said]


def shuffled(said: Sequence[str]) -> list[str]:
    """The same texts, none at its own place."""
    order = torch.randperm(len(said), generator=generator("evaluation", "shuffled")).tolist()
    found = [""] * len(said)
    for here, there in zip(order, [*order[1:], order[0]], strict=True):
        found[there] = said[here]
    return found


def right_captions(asked: Corpus, pool: Sequence[Corpus], language: str, px: int) -> list[list[str]]:
    """Of each picture of `asked` all captions that it has in `pool`, which holds it: pictures can be identical."""
    captions: dict[bytes, list[str]] = {}
    for corpus in pool:
        for picture, caption in zip(corpus.images(px), corpus.captions(language), strict=True):
            captions.setdefault(picture.tobytes(), []).append(caption)
    return [captions[picture.tobytes()] for picture in asked.images(px)]


def _ngrams(text: str) -> Counter[tuple[str, ...]]:
    words = _WORD.findall(text.lower())
    return Counter(tuple(words[at : at + n]) for n in range(1, NGRAMS + 1) for at in range(len(words) - n + 1))


def _cosine(own: dict[tuple[str, ...], float], other: dict[tuple[str, ...], float]) -> float:
    """Eq. 4: what `own` has more of than `other` is clipped, so that saying a word twice does not pay."""
    lengths = math.hypot(*own.values()) * math.hypot(*other.values())
    return sum(min(value, other[gram]) * other[gram] for gram, value in own.items() if gram in other) / (lengths or 1)


def _section(split: str, given: Told) -> Section:
    title, about = SPLITS[split]
    tiles = [_tile(given, row) for row in spread(len(given.said), SHOWN)]
    return Section(split, title, f"{about} Below each picture its caption and how the model describes it.", tiles)


def _tile(given: Told, row: int) -> Example:
    right = given.said[row] in given.references[row]
    remark = "described exactly" if right else f"described as {given.said[row] or 'nothing'}"
    return Example(given.captions[row], {"real": given.real[row]}, [(remark, right)])


def _failures(given: Told) -> Section:
    """The captions that are farthest from right, in each group."""
    scores = chrf(given.said, given.references)
    tiles = []
    for row, score in enumerate(scores):
        tile = _tile(given, row)
        tiles.append(replace(tile, remarks=[*tile.remarks, (f"chrF {score:.0f}", None)]))
    return failures.gallery(tiles, [-score for score in scores], given.asked.groups, "chrF (100 is right)")


def _inside(model: Model, given: Told) -> list[Section]:
    """Where the model looks, and what speaks for its words, on a few held-out pictures."""
    rows = spread(len(given.real), LOOKED_INTO)
    pictures, said = [given.real[row] for row in rows], [given.said[row] for row in rows]
    found = [attention(model, pictures)] if isinstance(model, Attends) else []
    if isinstance(model, attribution.Describes):
        found.append(attribution.pixels(model, pictures, said, model.config.image_px))
    return found
