"""The reference: pix2pix as it is usually written, which this package is measured against.

Eager fp32 in PyTorch's default memory format, plain `torch.nn` layers with activations in place, batch norm in training
mode, dropout on decoder layers 2 to 4, cross-entropy on logits, D run anew on the output for the generator's update,
D's weights frozen during it, Adam with its defaults, and images that PIL loads one by one.
Nothing here is made slower or faster than that. It shares no code with the networks and the step of the package.
"""

import random
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.optim import Adam

DROPOUT_LAYERS = (2, 3, 4)  # decoder layers with dropout, counted from the innermost


class ReferenceUNet(nn.Module):
    """source (N, in, H, W) in [-1, 1] -> output (N, out, H, W) in [-1, 1]; U-Net 256 for depth 8."""

    def __init__(
        self, in_channels: int = 3, out_channels: int = 3, *, depth: int = 8, base: int = 64, dropout: float = 0.5
    ) -> None:
        super().__init__()
        widths = [base * min(2**layer, 8) for layer in range(depth)]
        self.down = nn.ModuleList()
        self.up = nn.ModuleList()

        before = in_channels
        for layer, width in enumerate(widths):
            parts: list[nn.Module] = [nn.LeakyReLU(0.2, inplace=True)] if layer else []
            parts.append(nn.Conv2d(before, width, 4, stride=2, padding=1, bias=False))
            if 0 < layer < depth - 1:
                parts.append(nn.BatchNorm2d(width))
            self.down.append(nn.Sequential(*parts))
            before = width

        for layer, width in enumerate(reversed(widths[:-1]), start=1):
            parts = [
                nn.ReLU(inplace=True),
                nn.ConvTranspose2d(before, width, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(width),
            ]
            if dropout and layer in DROPOUT_LAYERS and width == base * 8:
                parts.append(nn.Dropout(dropout))
            self.up.append(nn.Sequential(*parts))
            before = 2 * width

        self.last = nn.Sequential(
            nn.ReLU(inplace=True), nn.ConvTranspose2d(before, out_channels, 4, stride=2, padding=1), nn.Tanh()
        )
        initialize(self)

    def forward(self, source: Tensor) -> Tensor:
        x, skips = source, []
        for down in self.down:
            x = down(x)  # its leaky ReLU changes the map before it in place, and so the skip too
            skips.append(x)
        x = skips.pop()
        for up in self.up:
            x = torch.cat([up(x), skips.pop()], 1)
        output: Tensor = self.last(x)
        return output


class ReferencePatchGAN(nn.Sequential):
    """source and image, concatenated (N, in + out, H, W) -> logits (N, 1, h, w) for patches of 70x70."""

    def __init__(self, in_channels: int = 6, *, base: int = 64) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(in_channels, base, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
        ]
        for before, after, stride in ((base, base * 2, 2), (base * 2, base * 4, 2), (base * 4, base * 8, 1)):
            layers += [
                nn.Conv2d(before, after, 4, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        super().__init__(*layers, nn.Conv2d(base * 8, 1, 4, stride=1, padding=1))
        initialize(self)


def initialize(network: nn.Module) -> None:
    """Convolutions from N(0, 0.02), norm gains from N(1, 0.02), biases 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
        if isinstance(bias := getattr(module, "bias", None), Tensor):
            nn.init.zeros_(bias)


class Reference:
    """Both networks, both Adams and their update. `modern` adds what costs a line each: bf16 autocast, fused Adam."""

    def __init__(
        self, *, depth: int = 8, base: int = 64, dropout: float = 0.5, channels: int = 3, modern: bool = False
    ) -> None:
        self.generator = ReferenceUNet(channels, channels, depth=depth, base=base, dropout=dropout)
        self.discriminator = ReferencePatchGAN(2 * channels, base=base)
        self.autocast = modern
        adam = {"lr": 2e-4, "betas": (0.5, 0.999)} | ({"fused": True} if modern else {})
        self.generator_optimizer = Adam(self.generator.parameters(), **adam)  # type: ignore[arg-type]
        self.discriminator_optimizer = Adam(self.discriminator.parameters(), **adam)  # type: ignore[arg-type]
        self.cross_entropy = nn.BCEWithLogitsLoss()
        self.l1 = nn.L1Loss()

    def step(self, source: Tensor, target: Tensor) -> dict[str, Tensor]:
        """One update of D, then one of G, on (N, C, H, W) in [-1, 1]. Returns the detached, unweighted terms."""
        with self._arithmetic():
            output = self.generator(source)
        terms = self.update_discriminator(source, target, output) | self.update_generator(source, target, output)
        return {name: term.detach() for name, term in terms.items()}

    def update_discriminator(self, source: Tensor, target: Tensor, output: Tensor) -> dict[str, Tensor]:
        """Update D on the target and on the output."""
        _set_requires_grad(self.discriminator, True)
        self.discriminator_optimizer.zero_grad()
        with self._arithmetic():
            fake_logits = self.discriminator(torch.cat([source, output], 1).detach())
            d_fake = self.cross_entropy(fake_logits, torch.zeros_like(fake_logits))
            real_logits = self.discriminator(torch.cat([source, target], 1))
            d_real = self.cross_entropy(real_logits, torch.ones_like(real_logits))
            d_loss = (d_fake + d_real) * 0.5
        d_loss.backward()
        self.discriminator_optimizer.step()
        return {"d_real": d_real, "d_fake": d_fake}

    def update_generator(self, source: Tensor, target: Tensor, output: Tensor) -> dict[str, Tensor]:
        """Update G by what D, run anew, says of its output, and by L1."""
        _set_requires_grad(self.discriminator, False)
        self.generator_optimizer.zero_grad()
        with self._arithmetic():
            fake_logits = self.discriminator(torch.cat([source, output], 1))
            g_adversarial = self.cross_entropy(fake_logits, torch.ones_like(fake_logits))
            g_l1 = self.l1(output, target)
            g_loss = g_adversarial + g_l1 * 100.0
        g_loss.backward()
        self.generator_optimizer.step()
        return {"g_adversarial": g_adversarial, "g_l1": g_l1}

    def _arithmetic(self) -> AbstractContextManager[object]:
        return torch.autocast("cpu", torch.bfloat16) if self.autocast else nullcontext()


def _set_requires_grad(network: nn.Module, value: bool) -> None:
    for weights in network.parameters():
        weights.requires_grad = value


class ReferencePairs:
    """Side-by-side files -> (left, right), each (3, size, size) in [-1, 1], jittered and mirrored as is usual."""

    def __init__(self, paths: Sequence[Path], *, image_size: int = 256) -> None:
        self.paths, self.crop = list(paths), image_size
        self.load = round(image_size * 286 / 256)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        both = Image.open(self.paths[index]).convert("RGB")
        width, height = both.size
        left = both.crop((0, 0, width // 2, height))
        right = both.crop((width // 2, 0, width, height))
        room = self.load - self.crop
        corner = (random.randint(0, room), random.randint(0, room))
        mirrored = random.random() > 0.5
        return self._transform(left, corner, mirrored=mirrored), self._transform(right, corner, mirrored=mirrored)

    def _transform(self, image: Image.Image, corner: tuple[int, int], *, mirrored: bool) -> Tensor:
        """Resize, Crop, Flip, ToTensor and Normalize: the operations of torchvision's transforms on a PIL image."""
        x, y = corner
        image = image.resize((self.load, self.load), Image.Resampling.BICUBIC)
        image = image.crop((x, y, x + self.crop, y + self.crop))
        if mirrored:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().to(torch.float32).div(255)
        half = torch.full((3, 1, 1), 0.5)
        return pixels.sub(half).div_(half)


def copy_weights(into: nn.Module, of: nn.Module) -> None:
    """Fill a network with the weights and statistics of another that has the same layers in the same order."""
    theirs: Iterable[Tensor] = of.state_dict().values()
    into.load_state_dict(dict(zip(into.state_dict(), theirs, strict=True)))
