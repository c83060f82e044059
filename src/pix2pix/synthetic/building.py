"""Types of a planned building: boxes, each of one class, in an image."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Box:
    """A part of a building: its class, and its pixels top <= y < bottom, left <= x < right."""

    name: str
    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    def named(self, name: str) -> "Box":
        return replace(self, name=name)

    def with_rows(self, top: int, bottom: int) -> "Box":
        return replace(self, top=top, bottom=bottom)

    def with_sides(self, left: int, right: int) -> "Box":
        return replace(self, left=left, right=right)


@dataclass(frozen=True)
class Building:
    """The boxes of a building in an image of height x width."""

    height: int
    width: int
    style: str  # a key of plan.STYLES and painters.MATERIALS
    floors: int
    front: Box
    eaves: int  # y where the roof ends and the front begins
    ground: int  # y where the ground floor begins
    boxes: tuple[Box, ...]  # back to front

    @property
    def storey(self) -> float:
        """Height of a storey in pixels."""
        return (self.front.bottom - self.eaves) / self.floors
