"""Draw the picture of a model card: a few pairs with their outputs, as a small JPEG."""

import io
from collections.abc import Sequence

from pix2pix.data.checks.contact_sheet import draw_sheet, shrink_to_fit
from pix2pix.data.io.arrays import Pixels, to_pil
from pix2pix.data.pairing.pair import source_titles

MOST_ROWS = 3
LARGEST = 256  # pixels of the longer side of an image


def draw_samples(rows: Sequence[Sequence[Pixels]]) -> bytes | None:
    """Return the bytes of a JPEG of the first rows of images: sources, output, target. None without a row.

    An image is (H, W, 1 or 3).
    """
    shown = [[shrink_to_fit(image, LARGEST) for image in row] for row in rows[:MOST_ROWS]]
    if not shown:
        return None
    sheet = draw_sheet(shown, [*source_titles(len(shown[0]) - 2), "output", "target"])
    file = io.BytesIO()
    to_pil(sheet).save(file, format="JPEG", quality=90, subsampling=0)
    return file.getvalue()
