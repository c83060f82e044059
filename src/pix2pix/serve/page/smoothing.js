/* A hand's path, smoothed: the pen follows the hand at a distance, and corners become curves. */

const FOLLOW = 0.4; // share of the distance that the pen goes at each report of the hand
const PIECES = 6; // straight pieces of one curve

export class SmoothPath {
  constructor(point) {
    this.pen = { ...point };
    this.middle = { ...point };
  }

  /** Return the points to draw to after the hand has moved. */
  move(point) {
    const before = this.pen;
    this.pen = { x: before.x + (point.x - before.x) * FOLLOW, y: before.y + (point.y - before.y) * FOLLOW };
    const middle = { x: (before.x + this.pen.x) / 2, y: (before.y + this.pen.y) / 2 };
    const points = curve(this.middle, before, middle);
    this.middle = middle;
    return points;
  }

  /** Return the points that lead to where the hand stopped. */
  end(point) {
    return curve(this.middle, this.pen, point);
  }
}

function curve(from, bend, to) {
  return Array.from({ length: PIECES }, (_, index) => {
    const t = (index + 1) / PIECES;
    const at = (axis) => (1 - t) ** 2 * from[axis] + 2 * t * (1 - t) * bend[axis] + t ** 2 * to[axis];
    return { x: at("x"), y: at("y") };
  });
}
