"""Bring images to the channels that a model takes: gray, colour and transparency; arrays (H, W, C) in and out."""

from dataclasses import dataclass

import numpy as np

from pix2pix.data.encoding.background import Limits, lay_over, opacity_of, parse_colour, type_limits
from pix2pix.data.encoding.labels import LabelEncoding
from pix2pix.data.encoding.prepared import ImageEncoding
from pix2pix.data.io.arrays import Array, with_channels
from pix2pix.errors import ConfigError, DataError
from pix2pix.text import format_count


@dataclass(frozen=True)
class ChannelRule:
    """What may be done to images that have other channels than the model takes."""

    strict: bool = False
    """Refuse them."""
    background: str = "white"
    """Colour behind transparent pixels."""

    def __post_init__(self) -> None:
        parse_colour(self.background)
        if self.strict and self.background != "white":
            raise ConfigError(
                f"--background {self.background}: --strict refuses transparent images, so nothing is laid over it; "
                "leave one of them out"
            )

    def fit(
        self, values: Array, source: ImageEncoding, name: object, *, alpha: bool, limits: Limits | None = None
    ) -> tuple[Array, tuple[str, ...]]:
        """Return (H, W, C) with the channels of a source, and what was done, in words; nothing for most images.

        With `alpha` the last channel is opacity. `limits` are those of the type unless given. Raises DataError for
        channels that are not converted and, if `strict`, for all that the training did not convert.
        """
        if values.shape[2] == source.file_channels and (source.reads_alpha or not alpha):
            return values, ()
        low, high = limits or type_limits(values)
        opacity = opacity_of(values, (low, high)) if alpha else None
        colours = values[..., :-1] if alpha else values
        if opacity is not None and not source.reads_alpha and opacity.min() >= 1:
            opacity = None
        if isinstance(source.values, LabelEncoding):  # colours are classes, so nothing may be mixed
            ignored = opacity is not None and opacity.min() < 1
            done = ["the transparency of label maps was ignored"] if ignored else []
            fitted = colours
        else:
            keeps = source.reads_alpha
            fitted, done = self._convert(colours, None if keeps else opacity, source, name, (low, high))
            if keeps:
                done += ["opacity was added"] if opacity is None else []
                last = values[..., -1:] if alpha else np.full_like(values[..., :1], high)
                fitted = np.concatenate([fitted, last], axis=2)
        if source.converts and opacity is None:
            return fitted, ()  # as the settings of the training say
        if done and self.strict:
            has = format_count(values.shape[2], "channel") + (" with transparency" if opacity is not None else "")
            raise DataError(
                f"{name}: has {has}, but the model translates {source.file_channels}: convert it, or leave strict out"
            )
        return fitted, tuple(done)

    def _convert(
        self, values: Array, opacity: Array | None, source: ImageEncoding, name: object, limits: Limits
    ) -> tuple[Array, list[str]]:
        """Repeat gray, lay (H, W, C) over the background by its opacity (H, W, 1), and take the luminance of colour."""
        has, wanted = values.shape[2], source.file_channels - source.reads_alpha
        done = []
        if (has, wanted) not in ((1, 1), (3, 3), (1, 3), (3, 1)) and (has != wanted or opacity is not None):
            raise DataError(
                f"{name}: has {format_count(has, 'channel')}, but the model translates {wanted}; "
                "only gray and RGB are converted"
            )
        if has == 1 and wanted == 3:
            values = np.repeat(values, 3, axis=2)
            done.append("gray was repeated to 3 channels")
        if opacity is not None:
            values = lay_over(values, opacity, parse_colour(self.background), limits)
            done.append(f"transparent pixels were laid over {self.background}")
        if has == 3 and wanted == 1:
            values = with_channels(values, 1, str(name))
            done.append("colour became its luminance")
        return values, done
