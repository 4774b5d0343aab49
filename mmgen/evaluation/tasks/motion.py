"""Task `motion`: a model that predicts videos, starts them from a picture, draws them from words.

Predictions are held against the true frames (MSE, PSNR, SSIM: Wang et al. 2004, doi:10.1109/TIP.2003.819861) and
against repeating the last given frame, which needs no model. Of a clip drawn from words the frame judge says what it
shows, and where its centre of brightness goes says in which direction and how fast it moves; the same rule on real
clips says how far it can be trusted. Split `compositions` has pairs of thing and direction that training never had.

Shapes here: N clips, T frames, S side in pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmgen.data.corpus import Corpus, load_corpus
from mmgen.data.sources.moving import DIRECTIONS, SPEEDS
from mmgen.evaluation.judges.class_judge import ClassJudge, load_class_judge
from mmgen.evaluation.metrics.bootstrap import ratio_interval
from mmgen.evaluation.tasks.task import Findings, Metric, Section, Subject
from mmgen.examples import Example, spread
from mmgen.modalities.video import Video

SPLITS = {"test": "New clips", "compositions": "Things in directions that were never shown together"}
HEADLINE = {
    "frame.mse_ratio": "squared error of predicted frames, as a share of repeating the last one",
    "text.content_test": "clips from words that show what was asked",
    "text.direction_test": "clips from words that move as asked",
    "text.content_compositions": "the same for new pairs of thing and direction: what",
    "text.direction_compositions": "the same for new pairs: where to",
    "text.speed_test": "clips from words as fast as asked",
    "frame.psnr_test": "PSNR of predicted frames, dB",
    "frame.psnr_copy_test": "the same for repeating the last frame",
    "frame.ssim_test": "SSIM of predicted frames",
    "frame.ssim_copy_test": "the same for repeating the last frame",
    "next.psnr_test": "PSNR of the one next frame, dB",
    "image.content_test": "clips from a picture that still show the same thing",
    "both.mse_ratio": "squared error of clips from picture and words, as a share of a standing picture",
    "rule.direction_test": "real clips whose direction the rule tells",
    "judge.accuracy": "real frames that the judge names right",
}
SHOWN, ZOOM, STRAIGHT = 12, 3, 4
"""Clips of a section, pixels that a pixel is shown as, frames in which nothing bounces yet."""


def evaluate(subject: Subject) -> Findings:
    """Predict, animate, draw."""
    model, seed = subject.model, subject.recipe.evaluation.seed
    judge, given = load_class_judge(subject.judge), subject.model.config.given
    language = subject.recipe.data.languages[0]
    subject.progress.start("evaluate", len(SPLITS), "splits")
    scores: dict[str, list[float]] = {}
    metrics: dict[str, Metric] = {}
    sections: list[Section] = []
    prompts: dict[str, list[str]] = {}
    for number, split in enumerate(SPLITS):
        test = load_corpus(subject.dataset, split)
        test = test.take(spread(len(test), min(len(test), subject.recipe.evaluation.samples)))
        real, n = [clip[: model.config.frames] for clip in test.videos()], len(test)
        words = test.captions(language)
        first = [clip[0] for clip in real]

        def make(n: int = n, **things: list[Any]) -> list[Video]:
            return model.generate(things, "video", n, seed=seed, options={})

        predicted = make(video=[clip[:given] for clip in real])
        told, begun, both = make(text=words), make(image=first), make(text=words, image=first)
        found = _against(predicted, real, given) | _recognised(judge, test, told, begun, real)
        copied = [np.repeat(clip[given - 1 : given], len(clip), 0) for clip in real]
        found |= {f"{name}_copy": values for name, values in _against(copied, real, given).items()}
        following = model.generate({"video": [clip[:given] for clip in real]}, "image", n, seed=seed, options={})
        found = {f"frame.{name}" if "." not in name else name: values for name, values in found.items()}
        found["next.psnr"] = [_psnr(a, clip[given]) for a, clip in zip(following, real, strict=True)]
        scores |= {f"{name}_{split}": values for name, values in found.items()}
        still = [np.repeat(clip[:1], len(clip), 0) for clip in real]
        if split == "test":
            metrics["frame.mse_ratio"] = ratio_interval(
                found["frame.mse"], found["frame.mse_copy"], subject.rng()
            )._asdict()
            moves, stands = (_against(clips, real, 1)["mse"] for clips in (both, still))
            metrics["both.mse_ratio"] = ratio_interval(moves, stands, subject.rng())._asdict()
        prompts[split] = test.keys
        sections += _sections(split, words, real, predicted, told, both)
        subject.progress.update(number + 1)
    subject.progress.done()
    return Findings(HEADLINE, sections, scores, metrics | subject.judge_accuracy(), prompts)


def direction(clip: Video) -> str:
    """The name of the direction in which the centre of brightness moves at first; empty when it stands."""
    return {step: name for name, step in DIRECTIONS.items()}.get(_steps(clip)[0], "")


def speed(clip: Video) -> str:
    """The name of the nearest speed."""
    return min(SPEEDS, key=lambda name: abs(SPEEDS[name] - _steps(clip)[1]))


def ssim(made: NDArray[np.uint8], real: NDArray[np.uint8]) -> float:
    """Structural similarity of two pictures (S, S, 3) with a Gaussian window of 1.5 pixels, mean over all pixels."""
    from scipy.ndimage import gaussian_filter

    a, b = (values.astype(np.float64) / 255 for values in (made, real))

    def blurred(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(gaussian_filter(values, (1.5, 1.5, 0), truncate=3.5))

    mean_a, mean_b = blurred(a), blurred(b)
    var_a, var_b = blurred(a * a) - mean_a**2, blurred(b * b) - mean_b**2
    both = blurred(a * b) - mean_a * mean_b
    first, second = 0.01**2, 0.03**2
    likeness = (2 * mean_a * mean_b + first) * (2 * both + second)
    return float((likeness / ((mean_a**2 + mean_b**2 + first) * (var_a + var_b + second))).mean())


def _steps(clip: Video) -> tuple[tuple[int, int], float]:
    """Signs of the first moves to the right and downwards, and pixels a frame along the faster axis."""
    light_TSS = clip[: STRAIGHT + 1].astype(np.float64).sum(-1)
    light_TSS *= light_TSS > 0.15 * light_TSS.max()  # what is left of the noise has no weight
    total_T = light_TSS.sum((1, 2)).clip(1)
    places = np.arange(clip.shape[1])
    across = [(light_TSS.sum(1) @ places / total_T)[frame] for frame in (0, STRAIGHT)]
    down = [(light_TSS.sum(2) @ places / total_T)[frame] for frame in (0, STRAIGHT)]
    moves = (across[1] - across[0]) / STRAIGHT, (down[1] - down[0]) / STRAIGHT
    most = max(abs(moves[0]), abs(moves[1]))
    signs = [int(np.sign(move)) if abs(move) > max(0.3, 0.5 * most) else 0 for move in moves]
    return (signs[0], signs[1]), most


def _against(made: list[Video], real: list[Video], given: int) -> dict[str, list[float]]:
    """MSE (of values in [0, 1]), PSNR and SSIM of each clip's frames from `given` on, means over frames."""
    found: dict[str, list[float]] = {"mse": [], "psnr": [], "ssim": []}
    for a, b in zip(made, real, strict=True):
        pairs = list(zip(a[given:], b[given:], strict=True))
        found["mse"].append(float(np.mean([_mse(*pair) for pair in pairs])))
        found["psnr"].append(float(np.mean([_psnr(*pair) for pair in pairs])))
        found["ssim"].append(float(np.mean([ssim(*pair) for pair in pairs])))
    return found


def _mse(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    return float(((a.astype(np.float64) - b) ** 2).mean() / 255**2)


def _psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """In dB; equal pictures count as differing by a tenth of a step of one value in 256."""
    return float(-10 * np.log10(max(_mse(a, b), 1e-7)))


def _recognised(
    judge: ClassJudge, test: Corpus, told: list[Video], begun: list[Video], real: list[Video]
) -> dict[str, list[float]]:
    def content(clips: list[Video]) -> list[float]:
        said = judge.names([clip[len(clip) // 2] for clip in clips])
        return [float(name == wanted) for name, wanted in zip(said, test.concepts, strict=True)]

    directions, speeds = test.values("direction"), test.values("speed")
    return {
        "text.content": content(told),
        "text.direction": [float(direction(clip) == wanted) for clip, wanted in zip(told, directions, strict=True)],
        "text.speed": [float(speed(clip) == wanted) for clip, wanted in zip(told, speeds, strict=True)],
        "image.content": content(begun),
        "rule.direction": [float(direction(clip) == wanted) for clip, wanted in zip(real, directions, strict=True)],
    }


def _sections(
    split: str, words: list[str], real: list[Video], predicted: list[Video], told: list[Video], both: list[Video]
) -> list[Section]:
    rows = spread(len(real), SHOWN)
    first = [Example(words[row], {"predicted over true": _over(predicted[row], real[row])}) for row in rows]
    drawn = [
        Example(words[row], {"drawn": _over(told[row])}, [(f"moves {direction(told[row]) or 'nowhere'}", None)])
        for row in rows
    ]
    started = [Example(words[row], {"made over true": _over(both[row], real[row])}) for row in rows]
    title = SPLITS[split]
    about = "Above the model's clip, below the true one."
    return [
        Section(f"predicted_{split}", f"{title}: predicted", f"The first half was given. {about}", first),
        Section(f"told_{split}", f"{title}: from words", "Where it starts is the model's choice.", drawn),
        Section(f"started_{split}", f"{title}: from picture and words", about, started),
    ]


def _over(*clips: Video) -> Video:
    """Clips one above the other with a grey line between them, larger."""
    rows: list[NDArray[Any]] = []
    for clip in clips:
        large = clip.repeat(ZOOM, 1).repeat(ZOOM, 2)
        if rows:
            rows.append(np.full((len(large), 4, *large.shape[2:]), 200, np.uint8))
        rows.append(large)
    return np.concatenate(rows, 1)
