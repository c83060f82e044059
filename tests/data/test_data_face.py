"""`pix2pix.data` gives what it names, and imports nothing heavy by itself."""

import subprocess
import sys

import pytest

import pix2pix.data


@pytest.mark.parametrize("name", pix2pix.data.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(pix2pix.data, name).__name__ == name


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'find_pears'"):
        pix2pix.data.find_pears  # noqa: B018


def test_importing_it_needs_no_torch() -> None:
    code = "import sys; from pix2pix.data import find_pairs; assert not {'torch', 'PIL', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
