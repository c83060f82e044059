/* The model inside the browser: a worker with onnxruntime-web. Nothing is sent anywhere. */

import { Problem, formatBytes } from "./problem.js";

export async function connect() {
  let models;
  try {
    const response = await fetch(address("models.json"), { cache: "no-cache" });
    ({ models } = await response.json());
  } catch {
    throw new Problem("The page is not whole", "The file models.json beside it cannot be read. Opened from a disk, it needs a server: python -m http.server in its folder.");
  }
  const worker = new Remote(new Worker(new URL("./worker.js", import.meta.url), { type: "module" }));
  const backend = { models, note: "The model runs inside this browser. Pictures stay on this device.", address };
  backend.prepare = async (model, tell) => {
    const { engine, milliseconds } = await worker.call("load", { model, base: document.baseURI, asked: new URLSearchParams(location.search).get("engine") }, ({ done, total, kept }) => {
      const what = kept ? "Reading the model from this browser's storage" : "Loading the model";
      tell(`${what}: ${formatBytes(done)} of ${formatBytes(total)}`, done / total);
    });
    backend.note = `The model runs inside this browser (${engine}). Pictures stay on this device.`;
    backend.loaded = { engine, milliseconds };
  };
  backend.translate = async (model, sources, { signal }) => {
    const start = performance.now();
    const { blob, milliseconds } = await worker.call("translate", { sources }, null, signal);
    return { blob, milliseconds: { model: milliseconds, total: performance.now() - start } };
  };
  return backend;
}

function address(path) {
  return new URL(path.replace(/^\//, ""), document.baseURI);
}

/** Calls to a worker, each answered once. */
class Remote {
  constructor(worker) {
    Object.assign(this, { worker, waiting: new Map(), last: 0 });
    worker.addEventListener("message", ({ data }) => this.hear(data));
    worker.addEventListener("error", (event) => this.stop(event.message));
  }

  call(what, values, progress, signal) {
    return new Promise((resolve, reject) => {
      this.last += 1;
      this.waiting.set(this.last, { resolve, reject, progress });
      signal?.addEventListener("abort", () => reject(new DOMException("stale", "AbortError")));
      this.worker.postMessage({ id: this.last, what, ...values });
    });
  }

  hear({ id, progress, problem, result }) {
    const call = this.waiting.get(id);
    if (progress) {
      call.progress?.(progress);
      return;
    }
    this.waiting.delete(id);
    if (problem) call.reject(new Problem(problem.title, problem.detail, null, problem.final));
    else call.resolve(result);
  }

  stop(message) {
    const problem = new Problem("The model stopped", `${message ?? "The worker ended"}. Load the page again.`);
    for (const call of this.waiting.values()) call.reject(problem);
    this.waiting.clear();
  }
}
