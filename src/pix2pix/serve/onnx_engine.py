"""Serve an exported ONNX file by onnxruntime: pixels in, pixels out, without torch."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from pix2pix.data.io import images
from pix2pix.data.io.arrays import Array, with_channels
from pix2pix.errors import DataError, ModelError
from pix2pix.serve.engine import Facts, ReadImage, SourceFacts
from pix2pix.system.hardware import usable_cores
from pix2pix.system.threads import describe_threads

_WHOLE = [[0.0, 255.0]]


class OnnxEngine:
    """A file that `pix2pix export` wrote. It has no noise."""

    def __init__(self, file: Path, processes: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads = max(1, usable_cores() // processes)
        options.log_severity_level = 3  # errors
        try:
            self._session = onnxruntime.InferenceSession(file.read_bytes(), options, providers=["CPUExecutionProvider"])
            fields = self._session.get_modelmeta().custom_metadata_map
            self.facts = _describe(fields, f"onnxruntime, cpu, {describe_threads(threads, processes)}")
        except OSError as error:
            raise ModelError(f"{file}: cannot be read ({error.strerror or error})") from None
        except Exception as error:  # onnxruntime raises many kinds for a damaged file
            reason = str(error).splitlines()[0][:200]
            raise ModelError(f"{file}: is no file that `pix2pix export` wrote ({reason})") from None
        self._inputs = [one.name for one in self._session.get_inputs()]

    def read(self, files: Sequence[Path]) -> ReadImage:
        """Read the file of each source; gray and RGB are converted to each other. Raises DataError."""
        values = [_read(file, source) for file, source in zip(files, self.facts.sources, strict=True)]
        for file, one in zip(files, values, strict=True):
            if one.shape[:2] != values[0].shape[:2]:
                raise DataError(f"{file}: has another size than {files[0]}; the sources of one image need one size")
        return ReadImage(values, values[0].shape)

    def translate(self, inputs: Sequence[ReadImage], seed: int | None = None) -> list[Array]:
        """Translate what was read, all of one size."""
        assert seed is None, "the file has no noise"
        batches = [np.stack([one.values[at] for one in inputs]) for at in range(len(self._inputs))]
        outputs: Array = self._session.run(None, dict(zip(self._inputs, batches, strict=True)))[0]
        return list(outputs)

    def warm_up(self) -> None:
        """Translate an empty picture."""
        blank = [np.zeros((*self.facts.image_size, one.channels), one.dtype) for one in self.facts.sources]
        self.translate([ReadImage(blank, blank[0].shape)])


def _read(file: Path, source: SourceFacts) -> Array:
    values = images.read(file)
    if values.dtype.name != source.dtype and not source.classes:
        raise DataError(f"{file}: holds {values.dtype.name} values, but the model translates {source.dtype}")
    return with_channels(values, source.channels, str(file)).astype(source.dtype)


def _describe(fields: Mapping[str, str], machine: str) -> Facts:
    """Read what a file says of itself. Raises KeyError or ValueError for another file."""
    config, target = json.loads(fields["pix2pix.config.json"]), json.loads(fields["pix2pix.target"])
    sources = [_describe_source(one) for one in json.loads(fields["pix2pix.sources"])]
    size = config["config"]["data"]["image_size"]
    height, width = (size, size) if isinstance(size, int) else map(int, size)
    classes = target.get("classes", ())
    colours = [list(bytes.fromhex(name[1:])) for name in classes if name.startswith("#")]
    return Facts(
        epoch=int(config["epoch"]),
        sources=tuple(sources),
        channels=int(target["channels"]),
        dtype=str(target["type"]),
        image_size=(int(height), int(width)),
        size_multiple=int(fields["pix2pix.size_multiple"]),
        noise=False,
        is_labels=target["kind"] == "labels",
        palette=np.array(colours, np.uint8) if colours else None,
        half=config.get("half"),
        machine=machine,
    )


def _describe_source(facts: Mapping[str, Any]) -> SourceFacts:
    return SourceFacts(
        str(facts["name"]),
        int(facts["channels"]),
        str(facts["type"]),
        tuple(facts.get("classes", ())),
        whole_type=facts.get("range") == _WHOLE,
    )
