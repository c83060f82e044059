/* One source of the model: its pixels while it is drawn, the bytes of its file while it is not, and its steps. */

import { History } from "./history.js";
import { encodeRaster } from "./png.js";
import { cut, join, makeRaster, put, toColour, toPixel } from "./raster.js";

export class Source extends EventTarget {
  /** `spec` is a source of the model's description; `size` is [height, width] of a new drawing. */
  constructor(spec, size) {
    super();
    this.spec = spec;
    this.size = size;
    this.drawn = spec.kind !== "image" && spec.dtype === "uint8";
    this.history = new History();
    this.background = spec.background ?? spec.classes?.[0]?.color ?? "#ffffff";
    this.display = displayTable(spec.classes ?? []);
    this.content = { raster: null, file: null, target: null };
  }

  get raster() {
    return this.content.raster;
  }

  get empty() {
    return !this.content.raster && !this.content.file;
  }

  /** Return the colour in which a class is shown. */
  shownColour(colour) {
    const pixel = this.display?.get(toPixel(colour));
    return pixel === undefined ? colour : toColour(pixel);
  }

  /** Show another picture, {raster, file: {blob, name}, target: URL}; a step that can be undone. */
  replace(content) {
    const before = this.content;
    const after = { raster: null, file: null, target: null, ...content };
    const show = (which) => { this.content = which; this.changed(null); };
    if (before.raster || before.file) {
      const bytes = (before.raster?.data.byteLength ?? 0) + (before.file?.blob.size ?? 0);
      this.history.add({ undo: () => show(before), redo: () => show(after), bytes });
    }
    show(after);
  }

  startBlank(width, height) {
    this.replace({ raster: makeRaster(width, height, toPixel(this.background)) });
  }

  /** Begin a stroke: keep the pixels before it. */
  begin() {
    this.before = { ...this.raster, data: this.raster.data.slice() };
    this.area = null;
  }

  /** Apply one drawing function to the pixels: raster -> changed rectangle. */
  draw(paint) {
    const area = paint(this.raster);
    this.area = join(this.area, area);
    if (area) this.changed(area);
  }

  /** Take back what the stroke has drawn so far. */
  revert() {
    if (!this.area) return;
    put(this.raster, this.area, cut(this.before, this.area));
    const { area } = this;
    this.area = null;
    this.changed(area);
  }

  /** End the stroke: it becomes one step. A picture that was drawn upon is no longer its file. */
  end() {
    const { area, before, content } = this;
    this.before = null;
    if (!area) return;
    const [old, now] = [cut(before, area), cut(content.raster, area)];
    if (old.every((pixel, i) => pixel === now[i])) return;
    const { file, target } = content;
    const apply = (piece, kept) => {
      put(content.raster, area, piece);
      Object.assign(content, kept);
      this.changed(area);
    };
    Object.assign(content, { file: null, target: null });
    const drawn = { file: null, target: null };
    this.history.add({ undo: () => apply(old, { file, target }), redo: () => apply(now, drawn), bytes: 2 * old.byteLength });
    this.changed(area);
  }

  /** Encode what is sent to the model: the file as it is, or the drawing as PNG. */
  async encode() {
    return this.content.file?.blob ?? encodeRaster(this.raster, this.spec.channels);
  }

  changed(area) {
    this.dispatchEvent(new CustomEvent("change", { detail: area }));
  }
}

/** Return the most frequent colour of a raster among `classes`, or null. */
export function mostFrequent(raster, classes) {
  const counts = new Map();
  for (const pixel of raster.data) counts.set(pixel, (counts.get(pixel) ?? 0) + 1);
  const colours = [...counts].sort((one, other) => other[1] - one[1]).map(([pixel]) => toColour(pixel));
  return colours.find((colour) => classes.some((each) => each.color === colour)) ?? null;
}

const NARROW = 128; // gray levels that lie within fewer look alike

/** Map the pixels of gray classes to colours that an eye can tell apart; null where all show as they are. */
function displayTable(classes) {
  const levels = classes.map(({ color }) => parseInt(color.slice(1, 3), 16));
  const gray = classes.every(({ color }, i) => color === `#${color.slice(1, 3).repeat(3)}` && levels[i] >= 0);
  if (!classes.length || !gray || Math.max(...levels) - Math.min(...levels) >= NARROW) return null;
  return new Map(classes.map(({ color }, i) => [toPixel(color), toPixel(distinctColour(i))]));
}

/** Return the colour in which a class is shown: hues a golden angle apart, in three brightnesses. */
function distinctColour(index) {
  if (index === 0) return "#202430";
  const [hue, light] = [(index * 137.5) % 360, [0.58, 0.44, 0.72][index % 3]];
  const part = (n) => {
    const k = (n + hue / 30) % 12;
    const level = light - 0.7 * Math.min(light, 1 - light) * Math.max(-1, Math.min(k - 3, 9 - k, 1));
    return Math.round(255 * level).toString(16).padStart(2, "0");
  };
  return `#${part(0)}${part(8)}${part(4)}`;
}
