"""Measure FID and KID with a feature network of your own, where Inception, trained on photos, does not fit the images.

    python examples/feature_network.py RUN DATA

The evaluation is written to a folder of its own, so that the one in RUN keeps its numbers of Inception.
From the shell: pix2pix evaluate RUN DATA --output DIR --features examples.feature_network:make_features
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn

import pix2pix


class Features(nn.Module):
    """images (N, C, H, W) in [-1, 1] -> features (N, d), here random convolutions of three scales.

    A network that was trained on images like yours tells more; any module with these shapes will do.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.scales = nn.ModuleList(nn.LazyConv2d(width, 5, stride=2, padding=2) for _ in range(3))

    def forward(self, images: Tensor) -> Tensor:
        found = []
        for convolution in self.scales:
            images = torch.relu(convolution(images))
            found += [images.mean(dim=(2, 3)), images.amax(dim=(2, 3))]
        return torch.cat(found, dim=1)


def make_features() -> nn.Module:
    """Build the network with fixed weights, so that two evaluations can be compared."""
    torch.manual_seed(0)
    network = Features().eval()
    network(torch.zeros(1, 3, 64, 64))  # the first call sizes lazy layers
    return network


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run or model folder")
    parser.add_argument("data", type=Path, help="the pairs to measure on")
    parser.add_argument("--split", default="test")
    parser.add_argument("--output", type=Path, default=Path("evaluation-features"), help="folder of this evaluation")
    chosen = parser.parse_args(arguments)
    measured = pix2pix.evaluate(
        chosen.run, chosen.data, split=chosen.split, output=chosen.output, features=make_features()
    )
    print(f"fid {measured.metrics['fid']:.4f}, kid {measured.metrics['kid']:.5f}")


if __name__ == "__main__":
    main()
