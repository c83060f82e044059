"""The rows of `recipes.py`: the flags of `pix2pix train` that each changes, and the columns of the table."""

REFERENCE = "paper"
TASKS = {
    "facades": [
        *("--direction", "BtoA", "--image-size", "128"),
        *("--val-fraction", "0.1", "--test-fraction", "0.2"),
        *("--best-by", "last", "--keep-every", "4", "--validate-every", "4"),
    ],
    "facades-256": [
        *("--direction", "BtoA", "--image-size", "256"),
        *("--val-fraction", "0.1", "--test-fraction", "0.2"),
        *("--best-by", "last", "--keep-every", "4", "--validate-every", "4"),
    ],
    "edges": ["--image-size", "128", "--best-by", "last", "--keep-every", "4", "--validate-every", "4"],
    "distances": [
        *("--image-size", "128", "--val-fraction", "0.1", "--test-fraction", "0.2"),
        *("--best-by", "last", "--keep-every", "4", "--validate-every", "4"),
    ],
}
"""Task -> flags that all rows share: photos from their label maps, from their edges, and no photos at all."""
_CMP_COLOURS = "#0000aa,#0000ff,#0055ff,#00aaff,#00ffff,#55ffaa,#aaff55,#ffff00,#ffaa00,#ff5500,#ff0000,#aa0000"
LABELS = ["--source-kind", "labels", "--source-labels", _CMP_COLOURS, "--label-tolerance", "300"]
"""Flags that read the label maps of the CMP facades, which are JPEG, as twelve classes."""
CLASSES = [*LABELS, "--discriminator.kind", "classes"]
WITHOUT: dict[str, list[str]] = {
    "dropout-0": ["--generator.dropout", "0.5"],
    "resize": ["--generator.upsampling", "transposed"],
    "depth": ["--generator.bottleneck-size", "1"],
    "hinge": ["--adversarial", "vanilla"],
    "feature-matching": ["--feature-matching-weight", "0"],
    "less-l1": ["--l1-weight", "100"],
    "augment": ["--discriminator.augment", "none"],
    "linear": ["--schedule", "constant"],
}
"""Part of the preset `modern` -> flags that take it back."""
WITH: dict[str, list[str]] = {
    "spectral-norm": ["--discriminator.norm", "none", "--discriminator.spectral-norm"],
    "group-norm": ["--generator.norm", "group"],
    "shuffle": ["--generator.upsampling", "shuffle"],
    "two-scales": ["--discriminator.scales", "2"],
    "perceptual": ["--perceptual-weight", "10"],
    "two-rates": ["--discriminator-learning-rate", "4e-4"],
    "warm-up": ["--warmup-images", "1000"],
    "classes": [*CLASSES, "--feature-matching-weight", "0", "--adversarial", "vanilla"],
    "reconstruction-first": ["--reconstruction-first", "0.1"],
}
"""Part that `modern` does not have -> its flags."""
ROWS: dict[str, list[str]] = {
    REFERENCE: [],
    "fp32": ["--precision", "32", "--update-order", "two-pass", "--convolutions", "native"],
    "junyanz": ["--preset", "junyanz"],
    "ema": ["--ema-images", "1000"],
    "ema-no-dropout": ["--ema-images", "1000", "--generator.dropout", "0"],
    "labels": LABELS,
    "classes": CLASSES,
    "modern": ["--preset", "modern"],
    **{f"modern-without-{name}": ["--preset", "modern", *words] for name, words in WITHOUT.items()},
    **{f"modern-with-{name}": ["--preset", "modern", *words] for name, words in WITH.items()},
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
