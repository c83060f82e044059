"""Write the model card, README.md of a model folder."""

from pix2pix.config import Data
from pix2pix.model.model_config import CONFIG, ModelConfig
from pix2pix.text import format_list


def write_card(model_config: ModelConfig) -> str:
    """Return the text of README.md: how the model was trained, and how to use it."""
    config = model_config.settings
    measured = ", ".join(f"{name} {value:.4f}" for name, value in model_config.validation.items() if value is not None)
    height, width = config.data.image_size
    channels = f"{config.data.network_channels} to {config.data.target_network_channels} "
    channels += "classes" if config.data.target_kind == "labels" else "channels"
    count = max(1, len(config.data.sources))
    inputs = ["INPUT"] if count == 1 else [f"SOURCE_{number}" for number in range(1, count + 1)]
    argument = "image" if count == 1 else "[" + ", ".join(f"source_{number}" for number in range(1, count + 1)) + "]"
    statistics = "each image" if model_config.norm_statistics == "image" else "training (running averages)"
    half = f"{model_config.describe_half()}\n" if model_config.half else ""
    sizes = f"{model_config.describe_output_size()} {model_config.describe_presented_size()}".strip()
    return f"""---
library_name: pix2pix
pipeline_tag: image-to-image
tags: [pix2pix, image-to-image]
---
# A pix2pix translator

Trained by the method of Isola et al. 2017 with pix2pix {model_config.pix2pix}: {config.generator.kind} generator at
{height}x{width}, {channels}, epoch {model_config.epoch}.
Validation: {measured or "no validation split"}.{_describe_files(config.data)}

    pix2pix translate THIS_FOLDER {" ".join(inputs)} --output DIR

    import pix2pix
    output = pix2pix.Translator.from_pretrained("THIS_FOLDER")({argument})

{sizes} Sides are then padded to multiples of what the generator takes, and cropped.
`--present`, or `present=` in Python, chooses another size.
{half}Batch norm uses the statistics of {statistics}.
All settings are in `{CONFIG}`.
"""


def _describe_files(data: Data) -> str:
    """Say which part of the files the training took; empty if all of it."""
    lines = []
    if data.source_from or data.target_from:
        source, target = (format_list(of) if of else "all" for of in (data.source_from, data.target_from))
        lines.append(f"Channels of its files: {source} for the source, {target} for the target. A file with exactly")
        lines.append("the source's channels is translated as it is; of any other these channels are taken.")
    if data.planes != "ask":
        lines.append(f"Planes of stacks were taken as {data.planes}.")
    return "".join(f"\n{line}" for line in lines)
