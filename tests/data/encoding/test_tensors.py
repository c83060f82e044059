"""8-bit images become numbers in [-1, 1] and come back exactly; nothing outside is clipped."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from pix2pix.data.encoding import tensors

pixel_arrays = arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3])))


@given(pixel_arrays)
def test_tensor_round_trip_is_exact(pixels: NDArray[np.uint8]) -> None:
    tensor = tensors.to_tensor(pixels)
    assert tensor.shape == (pixels.shape[2], *pixels.shape[:2])
    assert tensor.dtype == torch.float32
    assert tensor.min() >= -1
    assert tensor.max() <= 1
    assert np.array_equal(tensors.to_array(tensor), pixels)


def test_every_level_has_its_place() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    tensor = tensors.to_tensor(levels)
    assert tensor.flatten()[[0, 255]].tolist() == [-1, 1]
    assert torch.allclose(tensor.flatten(), torch.linspace(-1, 1, 256), atol=1e-6)
    assert np.array_equal(tensors.to_array(tensor), levels)


@pytest.mark.parametrize("value", [1.01, -1.01, float("nan"), float("inf")])
def test_values_outside_are_not_clipped(value: float) -> None:
    image = torch.zeros(3, 4, 4)
    image[1, 2, 3] = value
    with pytest.raises(ValueError, match=r"expected an image in \[-1, 1\]"):
        tensors.to_array(image)
