"""The user's choice of tiles."""

from dataclasses import dataclass

from pix2pix.errors import ConfigError


@dataclass(frozen=True)
class Tiling:
    """The user's choice of tiles, in pixels of the image at the size at which the generator sees it."""

    tile: int | None = None
    """Side; None to choose it by the memory budget, for images that do not fit into it."""
    overlap: int | None = None
    """None for an eighth of the side."""

    def check(self, multiple: int) -> None:
        """Raise ConfigError unless both are multiples of the generator's size multiple."""
        tile, overlap = self.tile, self.overlap
        if tile is not None and (tile < multiple or tile % multiple):
            examples = f"{2 * multiple} or {4 * multiple}"
            raise ConfigError(f"--tile {tile}: expected a multiple of {multiple} for this model, such as {examples}")
        if overlap is not None and (overlap < 0 or overlap % multiple or (tile is not None and overlap >= tile)):
            below = "" if tile is None else f" below --tile {tile}"
            raise ConfigError(f"--overlap {overlap}: expected 0 or a multiple of {multiple} for this model{below}")

    def overlap_of(self, tile: int, multiple: int) -> int:
        """Return the overlap of tiles of this side."""
        if self.overlap is not None:
            return self.overlap
        return min(max(multiple, tile // 8 // multiple * multiple), tile - multiple)
