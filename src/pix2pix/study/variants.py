"""The variants of the paper's experiments, and the paper's scores: figures 4 to 7 and tables 1 to 3 of Isola et al."""

from typing import Any, NamedTuple

from pix2pix.config import PATCH_LAYERS, smallest_discriminated
from pix2pix.config.io import merge_settings

KINDS = ("losses", "generators", "patches")


class Scores(NamedTuple):
    """FCN-scores on Cityscapes labels -> photo, as the paper reports them."""

    pixel_accuracy: float
    class_accuracy: float
    iou: float


class Variant(NamedTuple):
    """One column of a figure. Variants with the same name are the same training in all studies."""

    title: str
    generator: str
    loss: str
    patch_size: int
    paper: Scores | None

    @property
    def has_discriminator(self) -> bool:
        """Whether its loss has an adversarial term; without one the patch size does not matter."""
        return bool(LOSSES[self.loss]["loss"]["adversarial_weight"])

    @property
    def name(self) -> str:
        """The name of its run folder, without the seed."""
        patches = f"-{self.patch_size}" if self.has_discriminator else ""
        return f"{self.generator}-{self.loss}{patches}"

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that this variant changes: without a discriminator, also those that need one."""
        chosen = LOSSES[self.loss]
        settings = {
            "generator": {"kind": self.generator},
            "discriminator": {"patch_size": self.patch_size, "conditional": chosen["conditional"]},
            "loss": chosen["loss"],
        }
        return settings if self.has_discriminator else merge_settings(settings, WITHOUT_DISCRIMINATOR)


def _loss(adversarial: float, l1: float, l2: float, conditional: bool) -> dict[str, Any]:
    weights = {"adversarial_weight": adversarial, "l1_weight": l1, "l2_weight": l2}
    return {"loss": weights, "conditional": conditional}


# fmt: off
LOSSES = {
    #                 adversarial  L1     L2     D sees the source
    "l1":       _loss(0.0,         100.0, 0.0,   True),
    "gan":      _loss(1.0,         0.0,   0.0,   False),
    "cgan":     _loss(1.0,         0.0,   0.0,   True),
    "l1+gan":   _loss(1.0,         100.0, 0.0,   False),
    "l1+cgan":  _loss(1.0,         100.0, 0.0,   True),
    "l2+cgan":  _loss(1.0,         0.0,   100.0, True),
}
VARIANTS = {
    "losses": (  # Figure 4, Table 1
        Variant("L1",                    "unet",            "l1",      70,  Scores(.42, .15, .11)),
        Variant("GAN",                   "unet",            "gan",     70,  Scores(.22, .05, .01)),
        Variant("cGAN",                  "unet",            "cgan",    70,  Scores(.57, .22, .16)),
        Variant("L1 + GAN",              "unet",            "l1+gan",  70,  Scores(.64, .20, .15)),
        Variant("L1 + cGAN",             "unet",            "l1+cgan", 70,  Scores(.66, .23, .17)),
        Variant("L2 + cGAN",             "unet",            "l2+cgan", 70,  None),
    ),
    "generators": (  # Figure 5, Table 2
        Variant("Encoder-decoder, L1",        "encoder_decoder", "l1",      70,  Scores(.35, .12, .08)),
        Variant("Encoder-decoder, L1 + cGAN", "encoder_decoder", "l1+cgan", 70,  Scores(.29, .09, .05)),
        Variant("U-Net, L1",                  "unet",            "l1",      70,  Scores(.48, .18, .13)),
        Variant("U-Net, L1 + cGAN",           "unet",            "l1+cgan", 70,  Scores(.55, .20, .14)),
    ),
    "patches": (  # Figure 6, Table 3
        Variant("1x1",                   "unet",            "l1+cgan", 1,   Scores(.39, .15, .10)),
        Variant("16x16",                 "unet",            "l1+cgan", 16,  Scores(.65, .21, .17)),
        Variant("70x70",                 "unet",            "l1+cgan", 70,  Scores(.66, .23, .17)),
        Variant("286x286",               "unet",            "l1+cgan", 286, Scores(.42, .16, .11)),
    ),
}
# fmt: on
WITHOUT_DISCRIMINATOR = {
    "discriminator": {"augment": "none", "augment_probability": 1.0},
    "loss": {"feature_matching_weight": 0.0},
    "training": {"discriminator_epochs": 0, "reconstruction_first": 0.0},
}
QUESTIONS = {
    "losses": "Which loss? (Figure 4 and Table 1 of the paper)",
    "generators": "With or without skip connections? (Figure 5 and Table 2 of the paper)",
    "patches": "Which patch size of the discriminator? (Figure 6 and Table 3 of the paper)",
}


def choose_variants(kind: str, image_size: tuple[int, int], patch_size: int = 70) -> tuple[list[Variant], list[str]]:
    """Return the columns of a study for an image size, and notes on changes.

    `patch_size` is that of every discriminator in the studies that do not vary it. In the study of patches, one that is
    too large is replaced by the largest one that fits, if that covers the whole image.
    """
    side, notes, found = min(image_size), [], []
    for row in VARIANTS[kind]:
        variant = row if kind == "patches" or not row.has_discriminator else row._replace(patch_size=patch_size)
        size = variant.patch_size
        if side >= smallest_discriminated(size):
            found.append(variant)
            continue
        able = [patch for patch in PATCH_LAYERS if side >= smallest_discriminated(patch)]
        largest = max(able)
        if largest >= side and all(other.patch_size != largest for other in VARIANTS[kind]):
            found.append(variant._replace(title=f"{largest}x{largest}", patch_size=largest))
            notes.append(
                f"patches of {largest} replace {size}, which needs images of {smallest_discriminated(size)} pixels: "
                f"they cover a whole image of {side}"
            )
        else:
            notes.append(f"{variant.title} is left out: patches of {size} need {smallest_discriminated(size)} pixels")
    return found, notes
