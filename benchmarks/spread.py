"""How well the spread of a model's samples follows its error on a held-out split.

    python -m benchmarks.spread RUN DATA [SAMPLES]

Prints rank correlations of the standard deviation of the samples with the error of their mean, pixel by pixel and image
by image, and how often the target lies within intervals of the samples. Values are in [-1, 1].
"""

import sys
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from pix2pix.config.evaluation import EvaluateOptions
from pix2pix.evaluation.pairs import find_evaluation_pairs, present_pairs
from pix2pix.inference.noise import require_dropout, sample_seed
from pix2pix.inference.translator import Translator
from pix2pix.model import load_model

Array = NDArray[np.float64]


def draw(run: str, data: str, samples: int) -> Iterator[tuple[Array, Array]]:
    """Yield the samples (samples, C, H, W) and the target (C, H, W) of each pair of the test split."""
    model = load_model(run)
    pairs = find_evaluation_pairs(model, data, EvaluateOptions())
    dataset = present_pairs(pairs.chosen, model)
    translator = Translator(model, dropout=True)
    require_dropout(translator.generator, "spread")
    for index in range(len(dataset)):
        batch = dataset.load_one(index)
        drawn = []
        for number in range(1, samples + 1):
            torch.manual_seed(sample_seed(0, number))
            drawn.append(translator.translate(batch.source)[0].cpu().numpy().astype(np.float64))
        yield np.stack(drawn), batch.target[0].numpy().astype(np.float64)


def measure(drawn: list[tuple[Array, Array]]) -> dict[str, float]:
    """Return the figures of a split."""
    images = [(samples.mean(0), samples.std(0, ddof=1), samples, target) for samples, target in drawn]
    error = [np.abs(mean - target).mean(0) for mean, _, _, target in images]  # (H, W): mean of the channels
    spread = [std.mean(0) for _, std, _, _ in images]
    inside = {k: np.mean([np.abs(m - t) <= k * s + 1 / 255 for m, s, _, t in images]) for k in (1, 2, 3)}
    between = np.mean([(x.min(0) <= t) & (t <= x.max(0)) for _, _, x, t in images])
    scale = [np.abs(mean - target) / (std + 1 / 255) for mean, std, _, target in images]
    half = len(scale) // 2
    factor = np.quantile(np.stack(scale[:half]), 0.95)
    return {
        "images": len(images),
        "rank correlation, pixels of one image (mean over images)": float(
            np.mean([spearmanr(s.ravel(), e.ravel()).statistic for s, e in zip(spread, error, strict=True)])
        ),
        "rank correlation, all pixels": float(spearmanr(np.ravel(spread), np.ravel(error)).statistic),
        "rank correlation, images": float(spearmanr([s.mean() for s in spread], [e.mean() for e in error]).statistic),
        "mean |error| of the mean": float(np.mean(error)),
        "mean |error| of one sample": float(np.mean([np.abs(x[0] - t).mean() for _, _, x, t in images])),
        "mean standard deviation": float(np.mean(spread)),
        "target within 1 standard deviation": float(inside[1]),
        "target within 2": float(inside[2]),
        "target within 3": float(inside[3]),
        "target between the least and the greatest sample": float(between),
        "standard deviations that hold 95 % (first half of the images)": float(factor),
        "and hold of the other half": float(np.mean(np.stack(scale[half:]) <= factor)),
    }


if __name__ == "__main__":
    run, data, *rest = sys.argv[1:]
    for name, value in measure(list(draw(run, data, int(rest[0]) if rest else 16))).items():
        print(f"{name:<66} {value:.4g}")
