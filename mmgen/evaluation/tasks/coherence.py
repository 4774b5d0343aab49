"""Task `coherence`: a model of pictures, words and sounds of one thing, asked in every direction.

A made thing is coherent when the judge takes it for what was given: words letter by letter, pictures and sounds by the
concept judge. Asked are held-out samples: each modality from one other (`cross.*`) and from the two others
(`both.*`). Joint coherence asks for all three from nothing: picture, word and sound must be of one concept. Rebuilding
and the joint likelihood by importance weighting say what is lost.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mmgen.data.corpus import Corpus, load_corpus
from mmgen.data.order import generator
from mmgen.evaluation.judges.concept_judge import ConceptJudge, load_concept_judge
from mmgen.evaluation.metrics.statistics import kernel_distance_interval
from mmgen.evaluation.tasks.task import Findings, Metric, Section, Subject
from mmgen.examples import Example, spread
from mmgen.inspection.latent import interpolations, traversals
from mmgen.inspection.neighbours import neighbours

if TYPE_CHECKING:
    from mmgen.models.multimodal_vae.model import Fusion

NAMES = ("image", "text", "sound")
HEADLINE = {
    "cross.all": "made things that fit the one given, all directions",
    "joint.all": "picture, word and sound made from nothing that fit each other",
    "both.all": "made things that fit the two given",
    **{f"cross.{a}_to_{b}": f"{b} that fits the given {a}" for a in NAMES for b in NAMES if a != b},
    "nll.joint": "nats a held-out sample, importance weighted",
    "image.kid": "kernel distance of pictures from nothing to real ones",
    "image.mse": "squared error of rebuilt pictures",
    "sound.mse": "squared error of rebuilt spectrograms, in standard deviations",
    "judge.accuracy": "real samples whose picture and sound the judge names right",
}
WEIGHTED, IMPORTANCE = 200, 200
"""Samples whose likelihood is estimated, and draws for each part of the posterior."""
SHOWN, KERNEL_HALVES = 12, 50


def evaluate(subject: Subject) -> Findings:
    """Ask every direction."""
    model: Fusion = subject.model  # type: ignore[assignment]
    judge = load_concept_judge(subject.judge)
    test = load_corpus(subject.dataset, "test")
    test = test.take(spread(len(test), min(len(test), subject.recipe.evaluation.samples)))
    seed, n = subject.recipe.evaluation.seed, len(test)
    real: dict[str, list[Any]] = {
        "image": test.images(model.config.image_px),
        "text": test.concepts,
        "sound": test.sounds(),
    }
    ways: list[tuple[tuple[str, ...], str]] = [((source,), to) for source in NAMES for to in NAMES if source != to]
    ways += [(tuple(name for name in NAMES if name != to), to) for to in NAMES]
    subject.progress.start("evaluate", len(ways) + 2, "directions")
    scores: dict[str, list[float]] = {}
    made: dict[tuple[tuple[str, ...], str], list[Any]] = {}
    for number, (given, to) in enumerate(ways):
        made[given, to] = model.generate({name: real[name] for name in given}, to, n, seed=seed, options={})
        name = f"cross.{given[0]}_to_{to}" if len(given) == 1 else f"both.to_{to}"
        scores[name] = _fits(judge, to, made[given, to], test.concepts)
        subject.progress.update(number + 1)
    for kind in ("cross", "both"):
        scores[f"{kind}.all"] = np.mean(
            [values for name, values in scores.items() if name.startswith(kind)], 0
        ).tolist()
    drawn = model.generate({}, "all", n, seed=seed, options={})
    scores["joint.all"] = _agree(judge, drawn)
    subject.progress.update(len(ways) + 1)
    scores |= _lost(model, test, seed)
    value, low, high = kernel_distance_interval(
        judge.image.features([thing["image"] for thing in drawn]),
        judge.image.features(real["image"]),
        subject.rng(),
        KERNEL_HALVES,
    )
    metrics: dict[str, Metric] = {"image.kid": {"value": value, "low": low, "high": high, "n": n}}
    subject.progress.update(len(ways) + 2)
    subject.progress.done()
    sections = [
        _from_nothing(drawn),
        _from(judge, test, made, "text", "From a word", "The given word, and a picture and a sound made of it."),
        _from(judge, test, made, "image", "From a picture", "The given picture, and a word and a sound made of it."),
        _from(judge, test, made, "sound", "From a sound", "The given sound, and a picture and a word made of it."),
    ]
    train = load_corpus(subject.dataset, "train").images(model.config.image_px)
    words, few = sorted(set(test.concepts)), [thing["image"] for thing in drawn[:SHOWN]]
    sections += [
        traversals(model, model.latent_nats(test)),
        interpolations(model, [{"text": list(pair)} for pair in itertools.pairwise(words)][:SHOWN], seed),
        neighbours(few, [thing["text"] for thing in drawn[:SHOWN]], train, judge.image.features),
    ]
    prompts = {"test": test.keys}
    groups = {name: test.groups for name, values in scores.items() if len(values) == n and name != "joint.all"}
    return Findings(HEADLINE, sections, scores, metrics | subject.judge_accuracy(), prompts, groups)


def _fits(judge: ConceptJudge, to: str, things: list[Any], wanted: list[str]) -> list[float]:
    return [float(said == name) for said, name in zip(judge.names(to, things), wanted, strict=True)]


def _agree(judge: ConceptJudge, drawn: list[dict[str, Any]]) -> list[float]:
    """1 where picture, word and sound are all taken for the same concept; a word that is none fits nothing."""
    said = [judge.names(name, [thing[name] for thing in drawn]) for name in NAMES]
    return [float(len(set(names)) == 1) for names in zip(*said, strict=True)]


@torch.no_grad()
def _lost(model: Fusion, test: Corpus, seed: int) -> dict[str, list[float]]:
    """Errors of rebuilding each modality from all, and the joint likelihood."""
    x = model.values(test)
    binary = x | {"image": torch.bernoulli(x["image"], generator=generator("evaluation", "binary"))}
    z_NZ = model.latent(binary, len(test), seed, {"temperature": 0.0})
    image_NP, sound_NP = model.image.decoder(z_NZ).sigmoid(), model.sound.decoder(z_NZ)
    few = {name: x_NP[:WEIGHTED] for name, x_NP in binary.items()}
    return {
        "image.mse": (image_NP - x["image"]).square().mean(1).tolist(),
        "sound.mse": (sound_NP - x["sound"]).square().mean(1).tolist(),
        "nll.joint": (-model.log_likelihood(few, IMPORTANCE, generator(seed, "weights"))).tolist(),
    }


def _from_nothing(drawn: list[dict[str, Any]]) -> Section:
    tiles = [Example(thing["text"], {"image": thing["image"], "sound": thing["sound"]}) for thing in drawn[:SHOWN]]
    about = "Picture, word and sound of the same latent numbers, drawn from the prior; not selected."
    return Section("joint", "All three from nothing", about, tiles)


def _from(
    judge: ConceptJudge,
    test: Corpus,
    made: dict[tuple[tuple[str, ...], str], list[Any]],
    source: str,
    title: str,
    about: str,
) -> Section:
    others = [name for name in NAMES if name != source]
    side = made[("text",), "image"][0].shape[0]
    tiles = []
    for row in spread(len(test), SHOWN):
        asked = test.take([row])
        things = {to: made[(source,), to][row] for to in others}
        word = asked.concepts[0]
        shown: dict[str, Any] = {}
        if source == "image":
            shown["given"] = asked.images(side)[0]
        elif source == "sound":
            shown["given"] = asked.sounds()[0]
        shown |= {f"made {to}": thing for to, thing in things.items() if to != "text"}
        said = {to: judge.names(to, [thing])[0] for to, thing in things.items()}
        remarks: list[tuple[str, bool | None]] = [(f"{to}: {name}", name == word) for to, name in said.items()]
        tiles.append(Example(word, shown, remarks))
    return Section(f"from_{source}", title, about, tiles)
