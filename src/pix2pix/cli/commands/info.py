"""`pix2pix info`: describe a model."""

import json
from typing import Any

from pix2pix.cli.console import align
from pix2pix.cli.flags import Json


def info(model: str, /, *, json_: Json = False) -> None:
    """Describe a model: networks, channels, sizes, batch norm statistics, training, validation, evaluations.

    Parameters
    ----------
    model
        Run folder, model folder, hub id or exported file.
    json_
        Print as JSON.
    """
    from pix2pix.model.onnx_model import describe_onnx, is_onnx_name
    from pix2pix.text import format_count

    if is_onnx_name(model):
        facts = describe_onnx(model)
    else:
        from pix2pix.inference.optimize import describe_optimization
        from pix2pix.model import describe_model

        facts = describe_model(model)
        facts["engine"] = describe_optimization(facts["norm"], facts["norm_statistics"])
    if not json_:
        facts["image_size"] = "x".join(map(str, facts["image_size"]))
        facts["validation"] = _describe_metrics(facts["validation"], {})
        facts["license"] = facts["license"] or "not stated"
        if alarms := facts.pop("alarms", ()):
            facts["alarms"] = " ".join(alarms)
        for name in facts.keys() & {"sources", "target"}:
            del facts[name]  # source_values and target_values say the same in words
        for name in facts.keys() & {"differences", "speeds"}:
            facts[name] = _describe_measured(facts[name])
        if not facts.get("not_refused", True):
            del facts["not_refused"]
        for number, one in enumerate(facts.pop("evaluations", ()), start=1):
            data = "" if one["of_training"] else f" of {one['data']}"
            measured = _describe_metrics(one["metrics"], one["intervals"])
            facts[f"evaluation_{number}"] = f"{one['split']}{data}, {format_count(one['images'], 'image')}: {measured}"
    print(json.dumps(facts, indent=2) if json_ else "\n".join(align(facts)))


def _describe_metrics(metrics: dict[str, Any], intervals: dict[str, Any]) -> str:
    """Return `l1 0.1250 (0.1000 to 0.1500), psnr 14.00`, or `none`."""
    from pix2pix.text import format_digits

    words = []
    for name, value in metrics.items():
        ends = intervals.get(name)
        between = "" if ends is None else f" ({format_digits(ends[0])} to {format_digits(ends[1])})"
        words.append(f"{name} {'not finite' if value is None else format_digits(value)}{between}")
    return ", ".join(words) or "none"


def _describe_measured(rows: list[dict[str, Any]]) -> str:
    """Describe the speed or the error of an exported file: `onnxruntime 12.3 ms, 32x32 0.01 % of the range`."""
    words = []
    for one in rows:
        if "engine" in one:
            words.append(f"{one['engine']} {one.get('milliseconds', float('nan')):,.1f} ms")
        elif "share_mean" in one:
            words.append(f"{one.get('height')}x{one.get('width')} {100 * one['share_mean']:.2g} %")
    return ", ".join(words) or "not measured"
