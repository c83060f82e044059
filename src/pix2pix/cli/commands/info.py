"""`pix2pix info`: describe a model."""

import json

from pix2pix.cli.console import align
from pix2pix.cli.flags import Json


def info(model: str, /, *, json_: Json = False) -> None:
    """Describe a model: networks, channels, sizes, batch norm statistics, validation.

    Parameters
    ----------
    model
        Run folder, model folder or hub id.
    json_
        Print as JSON.
    """
    from pix2pix.inference.optimize import describe_optimization
    from pix2pix.model import describe_model
    from pix2pix.text import format_digits

    facts = describe_model(model)
    facts["engine"] = describe_optimization(facts["norm"], facts["norm_statistics"])
    if not json_:
        facts["image_size"] = "x".join(map(str, facts["image_size"]))
        metrics = {
            name: "not finite" if value is None else format_digits(value) for name, value in facts["validation"].items()
        }
        facts["validation"] = ", ".join(f"{name} {value}" for name, value in metrics.items()) or "none"
    print(json.dumps(facts, indent=2) if json_ else "\n".join(align(facts)))
