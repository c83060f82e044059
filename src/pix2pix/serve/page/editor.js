/* Draw on a source with mouse, touch, pen or keys; show its pixels, the cursor and the width of the brush. */

import { drawLine, drawRectangle, fillArea, toColour, toPixel } from "./raster.js";
import { SmoothPath } from "./smoothing.js";

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Editor {
  /** `tool()` returns {name, size, colour, smooth}; `say` speaks; `moved` is told where the cursor is. */
  constructor(canvas, overlay, { tool, say, moved }) {
    Object.assign(this, { canvas, overlay, tool, say, moved, source: null, stroke: null, pointer: null, cursor: null });
    this.keys = { x: 0, y: 0, shown: false };
    this.context = canvas.getContext("2d");
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.drag(event));
    canvas.addEventListener("pointerup", (event) => this.release(event));
    canvas.addEventListener("pointercancel", (event) => { if (this.draws(event)) this.giveUp(); });
    canvas.addEventListener("pointerleave", () => { if (!this.stroke) this.point(null); });
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("focus", () => { this.keys.shown = canvas.matches(":focus-visible"); this.point(null); });
    canvas.addEventListener("blur", () => { this.keys.shown = false; this.finish(); this.point(null); });
    new ResizeObserver(() => this.paintOverlay()).observe(canvas);
  }

  /** Show a source; `area` is what changed in it, null for everything. */
  show(source, area = null) {
    if (source !== this.source) this.giveUp();
    this.source = source;
    const { raster } = source;
    if (!raster) return;
    if (this.canvas.width !== raster.width || this.canvas.height !== raster.height) {
      Object.assign(this.canvas, { width: raster.width, height: raster.height });
      Object.assign(this.keys, { x: raster.width >> 1, y: raster.height >> 1 });
    }
    const { width, height } = raster;
    const whole = { left: 0, top: 0, right: width, bottom: height };
    const { left, top, right, bottom } = area ?? whole;
    const shown = source.display ? raster.data.map((pixel) => source.display.get(pixel) ?? pixel) : raster.data;
    const image = new ImageData(new Uint8ClampedArray(shown.buffer, shown.byteOffset, shown.byteLength), width, height);
    this.context.putImageData(image, 0, 0, left, top, right - left, bottom - top);
    this.paintOverlay();
  }

  get ready() {
    return this.source?.drawn && this.source.raster;
  }

  // ---- pointer ------------------------------------------------------------------------------------------------------

  press(event) {
    if (!this.ready || event.button !== 0 || this.stroke) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.canvas.focus({ preventScroll: true });
    this.keys.shown = false;
    event.preventDefault();
    this.pointer = event.pointerId;
    this.start(this.position(event));
    this.point(this.position(event));
  }

  /** Whether a pointer is the one that draws: a second finger, or a mouse beside the keys, does not. */
  draws(event) {
    return Boolean(this.stroke) && !this.stroke.byKeys && event.pointerId === this.pointer;
  }

  drag(event) {
    if (!this.ready || (this.stroke && !this.draws(event))) return;
    const moves = event.getCoalescedEvents?.() ?? [];
    if (this.stroke) for (const move of moves.length ? moves : [event]) this.continue(this.position(move));
    this.point(this.position(event));
  }

  release(event) {
    if (!this.draws(event)) return;
    this.continue(this.position(event));
    this.finish();
  }

  /** Find a pointer's place in pixels, with fractions. */
  position(event) {
    const box = this.canvas.getBoundingClientRect();
    return {
      x: ((event.clientX - box.left) / box.width) * this.canvas.width,
      y: ((event.clientY - box.top) / box.height) * this.canvas.height,
    };
  }

  // ---- strokes ------------------------------------------------------------------------------------------------------

  start(place, byKeys = false) {
    const tool = this.tool();
    const at = inside(place, this.source.raster);
    this.source.begin();
    this.stroke = { tool, pixel: toPixel(tool.colour), first: at, last: at, place, byKeys };
    if (tool.smooth && !byKeys) this.stroke.path = new SmoothPath(place);
    if (tool.name === "fill") {
      this.source.draw((raster) => fillArea(raster, at, this.stroke.pixel));
      this.finish();
    } else this.continue(place);
  }

  continue(place) {
    const { stroke } = this;
    stroke.place = place;
    if (stroke.tool.name === "rectangle") {
      this.source.revert();
      stroke.last = inside(place, this.source.raster);
      this.source.draw((raster) => drawRectangle(raster, stroke.first, stroke.last, stroke.pixel));
      return;
    }
    this.lineTo(stroke.path ? stroke.path.move(place) : [place]);
  }

  lineTo(places) {
    const { stroke } = this;
    for (const place of places) {
      const next = { x: Math.floor(place.x), y: Math.floor(place.y) };
      this.source.draw((raster) => drawLine(raster, stroke.last, next, stroke.tool.size, stroke.pixel));
      stroke.last = next;
    }
  }

  finish() {
    const { stroke } = this;
    if (!stroke) return;
    if (stroke.path) this.lineTo(stroke.path.end(stroke.place));
    this.stroke = null;
    this.source.end();
  }

  giveUp() {
    if (!this.stroke) return;
    this.stroke = null;
    this.source.revert();
    this.source.end();
  }

  // ---- keys ---------------------------------------------------------------------------------------------------------

  key(event) {
    if (!this.ready || event.ctrlKey || event.metaKey || event.altKey) return;
    if (STEPS[event.key]) this.moveKeys(STEPS[event.key], event.shiftKey ? 10 : 1);
    else if (event.key === " " || event.key === "Enter") this.pressKeys();
    else if (event.key === "Escape" && this.stroke) { this.giveUp(); this.say("The stroke is taken back."); }
    else return;
    event.preventDefault();
    this.keys.shown = true;
    this.point(null);
  }

  moveKeys([dx, dy], distance) {
    const { width, height } = this.source.raster;
    this.keys.x = Math.min(width - 1, Math.max(0, this.keys.x + dx * distance));
    this.keys.y = Math.min(height - 1, Math.max(0, this.keys.y + dy * distance));
    if (this.stroke?.byKeys) this.continue({ ...this.keys });
    else {
      const pixel = this.source.raster.data[this.keys.y * width + this.keys.x];
      this.say(`${this.keys.x}, ${this.keys.y}: ${this.nameOf(pixel)}`);
    }
  }

  pressKeys() {
    const { name } = this.tool();
    const down = !this.stroke;
    if (down) this.start({ x: this.keys.x, y: this.keys.y }, true);
    else this.finish();
    if (name === "fill") this.say("Filled.");
    else if (name === "rectangle") this.say(down ? "First corner set. Move, then press Space." : "Rectangle drawn.");
    else this.say(down ? "Down: the arrow keys draw. Press Space to lift." : "Lifted.");
  }

  nameOf(pixel) {
    const colour = toColour(pixel);
    return this.source.spec.classes?.find((each) => each.color === colour)?.name ?? colour;
  }

  // ---- overlay ------------------------------------------------------------------------------------------------------

  point(place) {
    this.cursor = place;
    const shown = place ?? (this.keys.shown ? this.keys : null);
    const raster = this.source?.raster;
    if (!shown || !raster) this.moved("");
    else {
      const { x, y } = inside(shown, raster);
      this.moved(`${x}, ${y}${this.source.spec.classes ? ` · ${this.nameOf(raster.data[y * raster.width + x])}` : ""}`);
    }
    this.paintOverlay();
  }

  paintOverlay() {
    const { overlay, canvas } = this;
    canvas.classList.toggle("by-keys", this.keys.shown); // the frame of the focus would cover what a hand draws
    const ratio = window.devicePixelRatio;
    overlay.width = Math.round(canvas.clientWidth * ratio);
    overlay.height = Math.round(canvas.clientHeight * ratio);
    const at = this.cursor ?? (this.keys.shown ? this.keys : null);
    if (!at || !this.ready) return;
    const context = overlay.getContext("2d");
    const scale = overlay.width / canvas.width;
    const centre = { x: (Math.floor(at.x) + 0.5) * scale, y: (Math.floor(at.y) + 0.5) * scale };
    const { name, size } = this.tool();
    const path = new Path2D();
    if (name === "brush" || name === "eraser") {
      const even = size % 2 ? 0 : 0.5 * scale; // a brush of even width has its middle between pixels
      path.arc(centre.x - even, centre.y - even, Math.max(2, (size / 2) * scale), 0, 2 * Math.PI);
    }
    if (!this.cursor || name === "rectangle" || name === "fill") {
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        path.moveTo(centre.x + dx * 4 * ratio, centre.y + dy * 4 * ratio);
        path.lineTo(centre.x + dx * 12 * ratio, centre.y + dy * 12 * ratio);
      }
    }
    for (const [style, width] of [["rgb(0 0 0 / 60%)", 3], ["#ffffff", 1.25]]) {
      Object.assign(context, { strokeStyle: style, lineWidth: width * ratio });
      context.stroke(path);
    }
  }
}

function inside(place, { width, height }) {
  return {
    x: Math.min(width - 1, Math.max(0, Math.floor(place.x))),
    y: Math.min(height - 1, Math.max(0, Math.floor(place.y))),
  };
}
