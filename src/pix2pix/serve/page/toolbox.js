/* The drawing tools and the classes to draw with. */

const LETTERS = { b: "brush", p: "brush", r: "rectangle", f: "fill", e: "eraser" };

export class Toolbox {
  constructor(form, changed) {
    this.form = form;
    this.changed = changed;
    this.source = null;
    this.sizes = { brush: 12, eraser: 24 };
    this.size = form.querySelector("#size");
    this.palette = form.querySelector("#palette");
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("change", (event) => { if (event.target.name === "tool") this.choose(event.target.value); });
    this.size.addEventListener("input", () => this.resize(Number(this.size.value)));
  }

  /** Offer the tools and classes of a source. */
  show(source) {
    this.source = source;
    const { kind, classes = [] } = source.spec;
    this.form.querySelector("#brush-name").textContent = kind === "lines" ? "Pen" : "Brush";
    const scale = Math.min(...source.size) / 256;
    this.sizes = kind === "lines" ? { brush: 2, eraser: Math.round(16 * scale) } : { brush: Math.max(1, Math.round(10 * scale)), eraser: Math.max(2, Math.round(20 * scale)) };
    this.palette.replaceChildren(...classes.map((each, index) => this.entry(each, index)));
    this.choose("brush");
  }

  entry({ name, color }, index) {
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: "radio", name: "class", value: color });
    input.checked = index === Math.min(1, this.source.spec.classes.length - 1);
    const swatch = Object.assign(document.createElement("span"), { className: "swatch" });
    swatch.style.backgroundColor = this.source.shownColour(color);
    const words = Object.assign(document.createElement("span"), { textContent: name, className: "name" });
    const key = Object.assign(document.createElement("kbd"), { textContent: index < 9 ? index + 1 : "" });
    key.setAttribute("aria-hidden", "true");
    label.append(input, swatch, words, key);
    label.title = name === color ? name : `${name} (${color})`;
    return label;
  }

  get name() {
    return this.form.elements.tool.value;
  }

  choose(name) {
    const wanted = [...this.form.elements.tool].find((each) => each.value === name);
    if (!wanted || wanted.closest("label").hidden) return;
    wanted.checked = true;
    this.size.disabled = !(name in this.sizes);
    if (name in this.sizes) this.resize(this.sizes[name]);
    this.changed();
  }

  resize(size) {
    if (!(this.name in this.sizes)) return;
    const value = Math.min(64, Math.max(1, size));
    this.sizes[this.name] = value;
    this.size.value = value;
    this.form.querySelector("#size-value").textContent = `${value} px`;
    this.changed();
  }

  /** Describe the tool as the editor needs it. */
  get tool() {
    const { name } = this;
    const { kind, stroke = "#000000" } = this.source.spec;
    const chosen = kind === "labels" ? this.form.elements.class?.value || this.source.background : stroke;
    return {
      name,
      size: this.sizes[name] ?? 1,
      colour: name === "eraser" ? this.source.background : chosen,
      smooth: kind === "lines" && name === "brush" && this.form.querySelector("#smooth").checked,
    };
  }

  /** Act on a key while the drawing has the focus; return words to say, or null. */
  key(key) {
    const name = LETTERS[key.toLowerCase()];
    if (name) {
      this.choose(name);
      return this.form.querySelector("[name=tool]:checked").parentElement.textContent.trim();
    }
    if (key === "[" || key === "]") {
      const { size } = this.tool;
      this.resize(key === "]" ? Math.ceil(size * 1.25 + 0.01) : Math.floor(size * 0.8));
      return `${this.tool.size} pixels wide`;
    }
    const input = /^[1-9]$/.test(key) ? this.palette.querySelectorAll("input")[Number(key) - 1] : null;
    if (!input) return null;
    input.checked = true;
    if (this.name === "eraser") this.choose("brush");
    return input.parentElement.querySelector(".name").textContent;
  }
}
