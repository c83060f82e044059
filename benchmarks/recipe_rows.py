"""The rows of `recipes.py`: the flags of `pix2pix train` that each changes, and the columns of the table."""

REFERENCE = "paper"
TASKS = {
    "facades": [
        *("--direction", "BtoA", "--image-size", "128"),
        *("--val-fraction", "0.1", "--test-fraction", "0.2"),
        *("--best-by", "last", "--keep-every", "4", "--validate-every", "4"),
    ]
}
"""Task -> flags that all rows share."""
PARTS: dict[str, list[str]] = {
    "no dropout": ["--generator.dropout", "0"],
    "resize": ["--generator.upsampling", "resize"],
    "depth": ["--generator.bottleneck-size", "4"],
    "spectral norm": ["--discriminator.norm", "none", "--discriminator.spectral-norm"],
    "hinge": ["--adversarial", "hinge"],
    "feature matching": ["--feature-matching-weight", "10"],
    "perceptual": ["--perceptual-weight", "10"],
    "less L1": ["--l1-weight", "10"],
    "augment": ["--discriminator.augment", "adaptive"],
    "linear": ["--schedule", "linear"],
    "two rates": ["--discriminator-learning-rate", "4e-4"],
    "warm-up": ["--warmup-images", "1000"],
    "reconstruction first": ["--reconstruction-first", "0.1"],
    "ema": ["--ema-images", "1000"],
}
"""Part of the recipe -> its flags."""


def _without(*names: str) -> list[str]:
    return [word for name, words in PARTS.items() if name not in names for word in words]


ROWS: dict[str, list[str]] = {
    REFERENCE: [],
    "fp32": ["--precision", "32", "--update-order", "two-pass", "--convolutions", "native"],
    "junyanz": ["--preset", "junyanz"],
    "ema": PARTS["ema"],
    "ema-no-dropout": [*PARTS["ema"], *PARTS["no dropout"]],
    "all": _without(),
    "all-group": [*_without(), "--generator.norm", "group"],
    **{f"all-but-{name.replace(' ', '-')}": _without(name) for name in PARTS},
}
COLUMNS = {
    "l1": "L1",
    "ssim": "SSIM",
    "st_lpips": "ST-LPIPS",
    "kid_vgg": "KID (VGG)",
    "label_pixel_accuracy": "label accuracy",
    "label_iou": "label IoU",
    "grid_energy": "grid energy",
    "gradient_ratio": "edges",
    "fine_detail_ratio": "fine detail",
}
"""Name in `metrics.json` -> title."""
