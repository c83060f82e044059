"""Write the page of an evaluation, and summarize its numbers in words."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pix2pix.metrics.bootstrap import FEWEST_JUDGED, describe_too_few
from pix2pix.metrics.diagnostics import Diagnostics
from pix2pix.metrics.pixel import HIGHER_IS_BETTER, MEASURES
from pix2pix.reports.curves import spectrum_svg, spread_svg
from pix2pix.reports.examples import Gallery
from pix2pix.reports.render import format_number, render, shown_metrics
from pix2pix.system.files import write_text
from pix2pix.text import format_count, format_list

FEWEST_VALUES = 5  # for a histogram
QUESTIONS = {  # diagnostic -> (question, names of its numbers)
    "dropout": ("Does the output vary with dropout?", ("dropout_movement",)),
    "source": ("Does it depend on the source?", ("source_dependence", "matched_l1", "shuffled_l1")),
    "sharpness": ("Is it sharp?", ("gradient_ratio", "fine_detail_ratio")),
    "grid": ("Is there a grid?", ("grid_energy", "target_grid_energy")),
    "memory": ("Does it copy a training image?", ("nearest_ratio", "remembered")),
}
CROSS_ENTROPY = {"g_cross_entropy": "Mean −log p of the right class over the pixels, in nats: 0 is certain and right."}
G_L1 = "Mean |y − G(x)| with images in [−1, 1]: 0 is a perfect copy, 2 is black in place of white."
FOUR_NUMBERS = {  # (lecture, "Test"): adversarial loss -> metric -> what it means
    "vanilla": {
        "g_adversarial": "The generator's adversarial loss, −log D(x, G(x)): log 2 = 0.693 is chance; "
        "above it the discriminator recognises outputs.",
        "g_l1": G_L1,
        "d_real": "The discriminator's loss on targets, −log D(x, y): log 2 = 0.693 is chance; "
        "below it the discriminator accepts targets as real.",
        "d_fake": "The discriminator's loss on outputs, −log(1 − D(x, G(x))): log 2 = 0.693 is chance; "
        "above it the discriminator accepts outputs as real.",
    },
    "lsgan": {
        "g_adversarial": "Squared distance of D's answer to outputs from 1, which means real: 0 if D accepts them.",
        "g_l1": G_L1,
        "d_real": "Squared distance of D's answer to targets from 1: 0 is no error, 0.25 undecided.",
        "d_fake": "Squared distance of D's answer to outputs from 0: 0 is no error, 0.25 undecided.",
    },
    "hinge": {
        "g_adversarial": "Minus D's answer to outputs: below 0 D accepts them as real.",
        "g_l1": G_L1,
        "d_real": "Hinge loss of D on targets: 0 is a clear decision, 1 undecided.",
        "d_fake": "Hinge loss of D on outputs: 0 is a clear decision, 1 undecided.",
    },
    "classes": {
        "g_adversarial": "Mean −log p of the right class that D gives the pixels of outputs, over the classes.",
        "g_l1": G_L1,
        "d_real": "Mean −log p of the right class that D gives the pixels of targets, over the classes: 0 is certain.",
        "d_fake": "Mean −log p that D gives the pixels of outputs for being generated: 0 is certain.",
    },
}


def write_evaluation_report(
    path: Path,
    metrics: Mapping[str, Any],
    gallery: Gallery,
    *,
    scores: Sequence[Mapping[str, float]] = (),
    adversarial: str = "vanilla",
    diagnostics: Diagnostics | None = None,
    curves: Sequence[Markup] = (),
) -> None:
    """Write the page of one evaluation.

    `metrics` is the content of `metrics.json`, `scores` are the metrics of each image, `adversarial` is the kind of
    loss, and `curves` are those of the training.
    """
    spectrum = None if diagnostics is None else diagnostics.spectrum
    page = render(
        "evaluation",
        title=f"{metrics['model']}: {metrics['split']}",
        metrics=metrics,
        headline=summarize(metrics),
        meanings=explain_numbers(adversarial, classes=gallery.classes),
        gallery=gallery,
        spreads=list(_draw_spreads(scores)),
        diagnostics=diagnostics,
        questions=QUESTIONS,
        spectrum=None if spectrum is None else Markup(spectrum_svg(*spectrum)),
        curves=curves,
        all_numbers=json.dumps(metrics, indent=2, ensure_ascii=False),
    )
    write_text(path, page)


def explain_numbers(adversarial: str, *, classes: bool) -> dict[str, str]:
    """Return the four numbers of an adversarial loss -> what they mean."""
    meanings = FOUR_NUMBERS.get(adversarial, {})
    if not classes:
        return meanings
    return {("g_cross_entropy" if name == "g_l1" else name): text for name, text in meanings.items()} | CROSS_ENTROPY


def summarize(metrics: Mapping[str, Any]) -> str:
    """Summarize an evaluation in one or two sentences."""
    if metrics.get("classes"):
        sentence = (
            f"On {format_count(metrics['images'], metrics['split'] + ' image')} "
            f"{100 * metrics['pixel_accuracy']:.1f} % of the pixels have the right class "
            f"(mean IoU {format_number(metrics['mean_iou'])})."
        )
        return " ".join([sentence, *_describe_baselines(metrics)])
    sentence = (
        f"On {format_count(metrics['images'], metrics['split'] + ' image')} the output differs from the target by "
        f"{100 * metrics['l1']:.1f} % of the full range on average "
        f"(PSNR {format_number(metrics['psnr'], 'dB')}, SSIM {format_number(metrics['ssim'])})."
    )
    return " ".join([sentence, *_describe_baselines(metrics)])


def _describe_baselines(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Yield `It is better than both baselines on l1, but not on psnr.` and on which metrics this is not clear."""
    baselines = metrics.get("baselines") or {}
    if baselines and metrics["images"] < FEWEST_JUDGED:
        yield f"{describe_too_few(metrics['images'])}, so it is not compared with the baselines."
        return
    metrics_by_outcome: dict[str, list[str]] = {"better": [], "not better": [], "unclear": []}
    for name in shown_metrics(metrics):
        if baselines and None not in (metrics[name], *(baseline[name] for baseline in baselines.values())):
            outcomes = {_compare_with_baseline(metrics, baseline, name) for baseline in baselines}
            worst = next(outcome for outcome in ("not better", "unclear", "better") if outcome in outcomes)
            metrics_by_outcome[worst].append(name)
    better, worse, unclear = metrics_by_outcome.values()
    those = "both baselines" if len(baselines) == 2 else "the baseline"
    if better and worse:
        yield f"It is better than {those} on {format_list(better)}, but not on {format_list(worse)}."
    elif better or worse:
        yield f"It is {'' if better else 'not '}better than {those} on {format_list(better or worse)}."
    if unclear:
        yield f"It is not clearly better on {format_list(unclear)}: the 95 % interval of a difference includes 0."


def _compare_with_baseline(metrics: Mapping[str, Any], baseline: str, name: str) -> str:
    """Return whether the model is better: by the interval of the difference, or by the mean if there is none."""
    sign = 1 if HIGHER_IS_BETTER[name] else -1
    ends = ((metrics.get("baseline_differences") or {}).get(baseline) or {}).get(name)
    if ends is None:
        ends = [metrics[name] - metrics["baselines"][baseline][name]] * 2
    low, high = sorted(sign * end for end in ends)
    return "better" if low > 0 else "not better" if high <= 0 else "unclear"


def _draw_spreads(scores: Sequence[Mapping[str, float]]) -> Iterator[Markup]:
    for name, _, unit, _ in MEASURES:
        values = [score[name] for score in scores if name in score]
        if len(values) >= FEWEST_VALUES:
            yield Markup(spread_svg(values, name, unit))
