/* The output: a hint, a picture, a file that no browser shows, or a problem in words; and the comparison. */

import { Compare } from "./compare.js";
import { Problem, formatBytes } from "./problem.js";

const EXTENSION = { "image/png": "png", "image/tiff": "tif", "image/jpeg": "jpg", "image/webp": "webp", "application/x-npy": "npy" };
const byId = (id) => document.getElementById(id);

export class Output {
  /** `compared(view)` resolves to {picture, name} that lies beneath the output in the views source and target. */
  constructor(compared) {
    this.compared = compared;
    this.compare = new Compare(byId("compare"));
    this.image = byId("output");
    this.result = null;
    this.slow = null;
    for (const input of this.views) input.addEventListener("change", () => this.showView());
    byId("dismiss").addEventListener("click", () => this.clearProblem());
    byId("download").addEventListener("click", () => this.download());
  }

  get views() {
    return document.getElementsByName("view");
  }

  get view() {
    return [...this.views].find((each) => each.checked).value;
  }

  /** Show that an answer is awaited, once it takes a moment. */
  working(on) {
    clearTimeout(this.slow);
    const stage = byId("output-stage");
    stage.dataset.state = on ? "working" : "still";
    if (!on) stage.setAttribute("aria-busy", "false");
    else this.slow = setTimeout(() => stage.setAttribute("aria-busy", "true"), 250);
  }

  /** Show an answer {blob, milliseconds, name, alt, seed, pixelated}. */
  async show(result) {
    const url = URL.createObjectURL(result.blob);
    const next = new Image();
    next.src = url;
    try {
      await next.decode();
    } catch {
      URL.revokeObjectURL(url);
      if (result.blob.type === "image/png") throw new Problem("The output cannot be shown", "The answer is not a whole picture. Try again.");
      this.showFile(result);
      return;
    }
    this.clearProblem();
    const old = this.image.src;
    Object.assign(this.image, { src: url, alt: result.alt });
    if (old) URL.revokeObjectURL(old);
    this.image.classList.toggle("pixelated", result.pixelated);
    this.keep(result);
    this.frame(next.naturalWidth, next.naturalHeight);
    byId("output-facts").textContent = [`${next.naturalWidth} × ${next.naturalHeight}`, result.seed === null ? "" : `sample ${result.seed}`].filter(Boolean).join(" · ");
    this.panel("output-picture");
    await this.showView();
  }

  showFile(result) {
    this.clearProblem();
    this.keep(result);
    byId("output-facts").textContent = formatBytes(result.blob.size);
    byId("output-file-note").textContent = "No browser can show this kind. Download it.";
    this.panel("output-file");
  }

  keep(result) {
    this.result = result;
    byId("download").disabled = false;
    const { model, total } = result.milliseconds;
    byId("time").textContent = [formatTime(total), model === null ? "" : `model ${formatTime(model)}`].filter(Boolean).join(" · ");
  }

  frame(width, height) {
    byId("output-stage").style.setProperty("--ratio", width / height);
  }

  /** Show nothing but a hint. */
  clear(hint) {
    this.result = null;
    byId("output-hint").textContent = hint;
    byId("loading").hidden = true;
    byId("download").disabled = true;
    for (const id of ["output-facts", "time"]) byId(id).textContent = "";
    this.clearProblem();
    this.panel("output-blank");
  }

  /** Show how far a download is, 0 to 1. */
  loading(words, share) {
    byId("output-hint").textContent = words;
    Object.assign(byId("loading"), { hidden: false, value: share });
  }

  panel(shown) {
    for (const id of ["output-picture", "output-blank", "output-file"]) byId(id).hidden = id !== shown;
  }

  async showView() {
    const beneath = this.view === "output" ? null : await this.compared(this.view);
    this.compare.show(beneath?.picture ?? null, beneath?.name ?? "");
  }

  /** Offer a comparison, of the view source or target, or not. */
  offer(view, there) {
    byId(`view-${view}`).hidden = !there;
    if (!there && this.view === view) this.views[0].checked = true;
  }

  fail({ title, detail }, again) {
    byId("problem-title").textContent = title;
    byId("problem-detail").textContent = detail;
    byId("retry").hidden = !again;
    byId("problem").hidden = false;
    byId("output-stage").classList.add("failed");
  }

  clearProblem() {
    byId("problem").hidden = true;
    byId("output-stage").classList.remove("failed");
  }

  download() {
    const { blob, name } = this.result;
    save(blob, `${name}-output.${EXTENSION[blob.type] ?? "png"}`);
  }
}

function formatTime(milliseconds) {
  return milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}

/** Save bytes as a file of the person. */
export function save(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
