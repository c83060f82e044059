/* Draw on 32-bit pixels with integers alone: no pixel gets a colour that lies between two others.

A raster is {width, height, data}, data a Uint32Array of RGBA, one number a pixel. Each function returns the rectangle
that it may have changed, {left, top, right, bottom} with right and bottom outside, or null. */

/** Turn #rrggbb into a pixel. */
export function toPixel(colour) {
  const value = parseInt(colour.slice(1), 16);
  return (0xff000000 | ((value & 0xff) << 16) | (value & 0xff00) | (value >> 16)) >>> 0;
}

/** Turn a pixel into #rrggbb. */
export function toColour(pixel) {
  const value = ((pixel & 0xff) << 16) | (pixel & 0xff00) | ((pixel >> 16) & 0xff);
  return `#${value.toString(16).padStart(6, "0")}`;
}

export function makeRaster(width, height, pixel) {
  return { width, height, data: new Uint32Array(width * height).fill(pixel) };
}

/** List the rows of a round brush, [dy, first dx, last dx], for a width in pixels. */
export function brushRows(size) {
  const rows = [];
  const start = -Math.floor(size / 2);
  for (let j = 0; j < size; j += 1) {
    const y = 2 * j - size + 1;
    let first = 0;
    while ((2 * first - size + 1) ** 2 + y * y > size * size) first += 1;
    rows.push([start + j, start + first, start + size - 1 - first]);
  }
  return rows;
}

function stamp(raster, x, y, rows, pixel) {
  for (const [dy, first, last] of rows) {
    const row = y + dy;
    if (row < 0 || row >= raster.height) continue;
    const from = Math.max(0, x + first);
    const to = Math.min(raster.width, x + last + 1);
    if (from < to) raster.data.fill(pixel, row * raster.width + from, row * raster.width + to);
  }
}

/** Move a brush from one pixel to another (Bresenham). */
export function drawLine(raster, from, to, size, pixel) {
  const rows = brushRows(size);
  let { x, y } = from;
  const dx = Math.abs(to.x - x);
  const dy = -Math.abs(to.y - y);
  const stepX = x < to.x ? 1 : -1;
  const stepY = y < to.y ? 1 : -1;
  let error = dx + dy;
  for (;;) {
    stamp(raster, x, y, rows, pixel);
    if (x === to.x && y === to.y) break;
    const twice = 2 * error;
    if (twice >= dy) { error += dy; x += stepX; }
    if (twice <= dx) { error += dx; y += stepY; }
  }
  return clip(raster, {
    left: Math.min(from.x, to.x) - size, top: Math.min(from.y, to.y) - size,
    right: Math.max(from.x, to.x) + size, bottom: Math.max(from.y, to.y) + size,
  });
}

/** Fill the rectangle that has two pixels as its corners. */
export function drawRectangle(raster, from, to, pixel) {
  const area = clip(raster, {
    left: Math.min(from.x, to.x), top: Math.min(from.y, to.y),
    right: Math.max(from.x, to.x) + 1, bottom: Math.max(from.y, to.y) + 1,
  });
  if (!area) return null;
  for (let y = area.top; y < area.bottom; y += 1) {
    raster.data.fill(pixel, y * raster.width + area.left, y * raster.width + area.right);
  }
  return area;
}

/** Fill the area of one colour around a pixel; neighbours touch by their sides. */
export function fillArea(raster, at, pixel) {
  const { width, height, data } = raster;
  const old = data[at.y * width + at.x];
  if (old === pixel) return null;
  const area = { left: at.x, top: at.y, right: at.x + 1, bottom: at.y + 1 };
  const waiting = [at.x, at.y];
  while (waiting.length) {
    const y = waiting.pop();
    const x = waiting.pop();
    const row = y * width;
    if (data[row + x] !== old) continue;
    let left = x;
    let right = x + 1;
    while (left > 0 && data[row + left - 1] === old) left -= 1;
    while (right < width && data[row + right] === old) right += 1;
    data.fill(pixel, row + left, row + right);
    area.left = Math.min(area.left, left);
    area.right = Math.max(area.right, right);
    area.top = Math.min(area.top, y);
    area.bottom = Math.max(area.bottom, y + 1);
    for (const next of [y - 1, y + 1]) {
      if (next < 0 || next >= height) continue;
      for (let i = left; i < right; i += 1) {
        const start = data[next * width + i] === old && (i === left || data[next * width + i - 1] !== old);
        if (start) waiting.push(i, next);
      }
    }
  }
  return area;
}

/** Join two changed rectangles, either of which may be null. */
export function join(one, other) {
  if (!one || !other) return one || other;
  return {
    left: Math.min(one.left, other.left), top: Math.min(one.top, other.top),
    right: Math.max(one.right, other.right), bottom: Math.max(one.bottom, other.bottom),
  };
}

export function cut(raster, area) {
  const width = area.right - area.left;
  const piece = new Uint32Array(width * (area.bottom - area.top));
  for (let y = area.top; y < area.bottom; y += 1) {
    const start = y * raster.width + area.left;
    piece.set(raster.data.subarray(start, start + width), (y - area.top) * width);
  }
  return piece;
}

export function put(raster, area, piece) {
  const width = area.right - area.left;
  for (let y = area.top; y < area.bottom; y += 1) {
    const start = (y - area.top) * width;
    raster.data.set(piece.subarray(start, start + width), y * raster.width + area.left);
  }
}

/** Turn and mirror a raster as an orientation of Exif says, 1 to 8. */
export function turned({ width, height, data }, orientation) {
  if (orientation < 2 || orientation > 8) return { width, height, data };
  const [wide, high] = orientation > 4 ? [height, width] : [width, height];
  const to = new Uint32Array(data.length);
  for (let y = 0; y < high; y += 1) {
    for (let x = 0; x < wide; x += 1) {
      const [u, v] = orientation > 4 ? [y, x] : [x, y];
      const column = [2, 3, 7, 8].includes(orientation) ? width - 1 - u : u;
      const row = [3, 4, 6, 7].includes(orientation) ? height - 1 - v : v;
      to[y * wide + x] = data[row * width + column];
    }
  }
  return { width: wide, height: high, data: to };
}

function clip(raster, area) {
  const inside = {
    left: Math.max(0, area.left), top: Math.max(0, area.top),
    right: Math.min(raster.width, area.right), bottom: Math.min(raster.height, area.bottom),
  };
  return inside.left < inside.right && inside.top < inside.bottom ? inside : null;
}
