"""Write the model card, README.md of a model folder: what the model does, how it was trained, measured and is used."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pix2pix.config import Data
from pix2pix.data.encoding.prepared import PreparedData
from pix2pix.model.facts import EvaluationFacts, describe_pairs
from pix2pix.model.model_config import CONFIG, CONVERTED, ModelConfig
from pix2pix.model.recipe import find_recipe
from pix2pix.text import escape_unprintable, format_count, format_digits, format_duration, format_list

README, SAMPLES = "README.md", "samples.jpg"
FOLDER = "MODEL_FOLDER"
"""Stands for the path of the model in the commands of a card; on the hub, its id does."""
FEW = 20  # images, below which an interval says little
METRICS = {
    "l1": "L1, share of the range ↓",
    "mae": "mean absolute error in the target's units ↓",
    "rmse": "root mean squared error in the target's units ↓",
    "psnr": "PSNR in dB ↑",
    "ssim": "SSIM ↑",
    "ms_ssim": "MS-SSIM ↑",
    "st_lpips": "ST-LPIPS ↓",
    "lpips": "LPIPS ↓",
    "fid": "FID ↓",
    "kid": "KID ↓",
    "kid_vgg": "KID of VGG features ↓",
    "mean_iou": "mean IoU ↑",
    "pixel_accuracy": "pixel accuracy ↑",
    "label_accuracy": "accuracy of labels read from the output ↑",
}
"""Metric -> its name on a card; ↑ higher is better, ↓ lower is better."""

_MARK = re.compile(r"\n<!-- made by pix2pix, not edited: ([0-9a-f]{64}) -->\n", re.ASCII)
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def write_card(
    model_config: ModelConfig,
    *,
    evaluations: Sequence[EvaluationFacts] = (),
    samples: bool = False,
    name: str = FOLDER,
) -> str:
    """Return the text of README.md.

    `evaluations` are those of the model's weights, `samples` says whether the picture lies in the folder, and `name` is
    what the commands call the model.
    """
    parts = [
        _front_matter(model_config),
        f"# {_escape(_title(model_config))}\n\n{_task(model_config)}",
        _PICTURE if samples else "",
        _use(model_config, name),
        _results(model_config, evaluations),
        "" if CONVERTED in model_config.settings.provenance else _recipe(model_config),
        _limits(model_config, evaluations),
        _license(model_config),
    ]
    text = "\n\n".join(part.strip("\n") for part in parts if part) + "\n"
    return f"{text}\n<!-- made by pix2pix, not edited: {_digest(text)} -->\n"


def is_unedited(text: str) -> bool:
    """Return whether a card is as `write_card` made it; false for one of an earlier version, which had no mark."""
    found = _MARK.search(text.replace("\r\n", "\n"))
    return found is not None and _digest(text.replace("\r\n", "\n")[: found.start()]) == found[1]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()


# ---- parts -----------------------------------------------------------------------------------------------------

_PICTURE = f"""![Source, output and target of held-out pairs]({SAMPLES})

*Source, output and target of pairs that the model was not trained on.*"""


def _front_matter(model_config: ModelConfig) -> str:
    values: dict[str, Any] = {
        "library_name": "pix2pix",
        "pipeline_tag": "image-to-image",
        "tags": ["pix2pix", "image-to-image", "conditional-gan"],
    }
    if (license_ := model_config.settings.training.license) is not None:
        values["license"] = license_
    if (parent := find_parent(model_config)) is not None and _HUB_ID.fullmatch(parent):
        values["base_model"] = parent
    return f"---\n{yaml.safe_dump(values, sort_keys=False, allow_unicode=True)}---"


def _title(model_config: ModelConfig) -> str:
    trained = model_config.trained
    return f"{trained.data}: image to image" if trained is not None else "A pix2pix model"


def _task(model_config: ModelConfig) -> str:
    """Say in words what the model makes of what."""
    data, trained = model_config.settings.data, model_config.trained
    prepared = PreparedData.from_settings(data)
    settings = [*data.source_settings(len(prepared.sources)), data.target_settings]
    *sources, target = [
        f"{'a label map' if one.kind == 'labels' else 'an image'} ({_escape(encoding.describe())})"
        for one, encoding in zip(settings, [*prepared.sources, prepared.target], strict=True)
    ]
    learned = ""
    if trained is not None:
        train, others = trained.pairs.get("train", 0), {n: c for n, c in trained.pairs.items() if n != "train"}
        held_out = f"; {describe_pairs(others)} pairs were held out" if others else ""
        learned = f" It learned from {format_count(train, 'pair')} of {_code(trained.data)}{held_out}."
    origin = f" {_escape(words)}" if (words := model_config.describe_origin()) else ""
    made = "was converted, trained" if CONVERTED in model_config.settings.provenance else "was trained"
    return (
        f"This model translates {format_list(sources)} into {target}.{learned}{origin} It {made} "
        "by the method of [Isola et al. 2017](https://arxiv.org/abs/1611.07004), a conditional GAN, with "
        f"pix2pix {model_config.pix2pix}."
    )


def _use(model_config: ModelConfig, name: str) -> str:
    count = max(1, len(model_config.settings.data.sources))
    words = " ".join(["INPUT"] if count == 1 else [f"SOURCE_{number}" for number in range(1, count + 1)])
    argument = "image" if count == 1 else "[" + ", ".join(f"source_{number}" for number in range(1, count + 1)) + "]"
    files = [*_describe_files(model_config.settings.data), model_config.describe_half()]
    sizes = [model_config.describe_output_size(), model_config.describe_presented_size()]
    where = "" if name != FOLDER else f"\n\n`{FOLDER}` stands for the path of this folder."
    return f"""## Use

In a shell, on files or folders of images:

```sh
pix2pix translate {name} {words} --output DIR
```

In Python; a PIL image, an array or a tensor gives the same kind of object:

```python
import pix2pix

translator = pix2pix.Translator.from_pretrained("{name}")
output = translator({argument})
```

Without PyTorch, as one ONNX file, pixels in and pixels out:

```sh
pix2pix export {name} --output model.onnx
```{where}

{" ".join(filter(None, [*files, *sizes]))} Sides are then padded to multiples of
what the generator takes, and cropped. `--present`, or `present=` in Python, chooses another size."""


def _describe_files(data: Data) -> Iterator[str]:
    """Say which part of the files the training took; nothing if all of it."""
    if data.source_from or data.target_from:
        source, target = (format_list(of) if of else "all" for of in (data.source_from, data.target_from))
        yield f"Channels of its files: {_escape(source)} for the source, {_escape(target)} for the target."
        yield "A file with exactly the source's channels is translated as it is; of any other these channels are taken."
    if data.planes != "ask":
        yield f"Planes of stacks were taken as {data.planes}."


def _results(model_config: ModelConfig, evaluations: Sequence[EvaluationFacts]) -> str:
    trained, lines = model_config.trained, []
    if any(model_config.validation.get(name) is not None for name in METRICS):
        images = trained.pairs.get("val") if trained else None
        count = "" if images is None else f", {format_count(images, 'pair')}"
        by = model_config.settings.training.best_by
        chosen = "" if by in ("last", "auto") else f", by which this epoch was chosen (`{by}`)"
        lines.append(f"**Validation{count}**{chosen}:")
        lines.append(_table(model_config.validation, trained.intervals if trained else {}))
    for one in reversed(evaluations):
        data = "" if one.of_training else f" of {_code(one.data)}, which are not the data of the training"
        how = [*(["at full size"] if one.full_size else []), *(["with dropout on"] if one.dropout else [])]
        more = f", {' and '.join(how)}" if how else ""
        measured = format_count(one.images, "image")
        lines.append(f"**Evaluation on the split {_code(one.split)}{data}, {measured}{more}**:")
        lines.append(_table(one.metrics, one.intervals))
    if lines:
        lines.append("Intervals are of the mean, by resampling the images. ↑ higher is better, ↓ lower is better.")
    else:
        lines.append("Nothing was measured: there was no validation split, and no evaluation is recorded.")
    return "## Validation and evaluation\n\n" + "\n\n".join(lines)


def _table(metrics: Mapping[str, float | None], intervals: Mapping[str, tuple[float, float] | None]) -> str:
    rows = ["| metric | mean | 95 % interval |", "|---|---:|---:|"]
    for name, words in METRICS.items():
        if (value := metrics.get(name)) is not None:
            ends = intervals.get(name)
            between = "–" if ends is None else " to ".join(map(format_digits, ends))
            rows.append(f"| {words} | {format_digits(value)} | {between} |")
    return "\n".join(rows)


def _recipe(model_config: ModelConfig) -> str:
    config, trained = model_config.settings, model_config.trained
    found = find_recipe(config)
    height, width = config.data.image_size
    time = f" after {format_duration(trained.seconds)}" if trained is not None else ""
    lines = [
        f"- Images of {height}x{width}; generator `{config.generator.kind}` from {config.generator.base_channels} "
        f"channels on; discriminator {config.discriminator.describe()}",
        f"- Epoch {model_config.epoch} of {config.training.epochs} was kept{time}",
        f"- Preset `{found.preset}` ({found.source})" + (", with other values of:" if found.differences else ""),
    ]
    text = "## Training\n\n" + "\n".join(lines)
    if found.differences:
        rows = ["| setting | here | preset |", "|---|---|---|"]
        rows += [f"| `{one.name}` | {_value(one.value)} | {_value(one.usual)} |" for one in found.differences]
        text += "\n\n" + "\n".join(rows)
    return f"{text}\n\nAll settings are in `{CONFIG}`."


def _limits(model_config: ModelConfig, evaluations: Sequence[EvaluationFacts]) -> str:
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in _limit_lines(model_config, evaluations))


def _limit_lines(model_config: ModelConfig, evaluations: Sequence[EvaluationFacts]) -> Iterable[str]:
    config, trained = model_config.settings, model_config.trained
    if trained is not None:
        yield (
            f"It has seen {format_count(trained.pairs.get('train', 0), 'training pair')} of {_code(trained.data)} and "
            "nothing else. On images of another kind, origin, resolution or colour its outputs may look right and be "
            "wrong."
        )
    yield "It invents plausible detail: compare outputs with real targets before you measure in them or rely on them."
    measured = max([0, *(one.images for one in evaluations), trained.pairs.get("val", 0) if trained else 0])
    if 0 < measured < FEW:
        yield f"It was measured on {format_count(measured, 'image')}, too few to conclude from."
    if trained is not None:
        for alarm in trained.alarms:
            yield f"Alarm of the training at this epoch: {_escape(alarm)}"
        if not trained.alarms:
            yield "No alarm of the training lasted at this epoch."
    if config.generator.dropout:
        yield (
            "Outputs are deterministic: dropout, the method's noise, is off when translating. `--dropout` turns it on; "
            "how much outputs then differ is no measure of their error."
        )
    else:
        yield "Outputs are deterministic: the model has no noise."
    if model_config.norm_statistics == "image":
        yield "Batch norm uses the statistics of each image: a part of an image is not translated as within the whole."
    else:
        yield "Batch norm uses the statistics of training (running averages)."


def _license(model_config: ModelConfig) -> str:
    license_ = model_config.settings.training.license
    return f"## Licence\n\n{f'`{license_}`' if license_ else 'Not stated: ask the author before you use this model.'}"


# ---- words -----------------------------------------------------------------------------------------------------


def find_parent(model_config: ModelConfig) -> str | None:
    """Return the name of the model with whose weights the training began; None if there was none. Never a path."""
    parent = model_config.settings.provenance.get("parent")
    if parent is None or _HUB_ID.fullmatch(parent):
        return parent
    return Path(parent).name


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return _code("x".join(map(str, value)) if all(isinstance(one, int) for one in value) else str(value))
    return _code("none" if value is None else f"{value:g}" if isinstance(value, float) else str(value))


def _code(text: str) -> str:
    """Quote a name, which may hold any sign, as code."""
    return "`" + escape_unprintable(text).replace("`", "'").replace("|", "/") + "`"


def _escape(text: str) -> str:
    """Write a text, which may hold any sign, so that Markdown shows it as it is."""
    return re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", escape_unprintable(text))
