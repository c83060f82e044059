"""The rows of `recipes.py`: the flags of `pix2pix train` that each changes, and the columns of the table."""

REFERENCE = "paper"
TASKS = {
    "facades": [
        *("--direction", "BtoA", "--image-size", "128"),
        *("--val-fraction", "0.1", "--test-fraction", "0.2", "--best-by", "last"),
    ]
}
"""Task -> flags that all rows share."""
EMA = ("--ema", "0.998")
ROWS: dict[str, list[str]] = {
    REFERENCE: [],
    "fp32": ["--precision", "32", "--update-order", "two-pass", "--convolutions", "native"],
    "junyanz": ["--preset", "junyanz"],
    "ema": [*EMA],
    "no dropout": ["--generator.dropout", "0"],
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
