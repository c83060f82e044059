/* Runs a model away from the page: loads it with onnxruntime-web, and translates pictures. */

import { decode } from "./files.js";
import { loadFiles } from "./model_files.js";
import { encodePng } from "./png.js";
import { Problem } from "./problem.js";

let ort;
let session;
let loaded;

const actions = { load, translate };

self.addEventListener("message", async ({ data: { id, what, ...values } }) => {
  try {
    const result = await actions[what](values, (progress) => self.postMessage({ id, progress }));
    self.postMessage({ id, result });
  } catch (error) {
    const { title, detail, final } = error instanceof Problem ? error : new Problem("The model failed", String(error.message ?? error));
    self.postMessage({ id, problem: { title, detail, final } });
  }
});

/** Load a model on the first engine that runs it. */
async function load({ model, base, asked }, progress) {
  const start = performance.now();
  await session?.release();
  session = null;
  let failure;
  for (const engine of await findEngines(asked)) {
    try {
      await open(engine, model, base, progress);
      loaded = model;
      const name = engine === "webgpu" ? "WebGPU" : `WebAssembly, ${ort.env.wasm.numThreads > 1 ? `${ort.env.wasm.numThreads} threads` : "one thread"}`;
      return { engine: name, milliseconds: performance.now() - start };
    } catch (error) {
      failure = error;
      await session?.release();
      session = null;
    }
  }
  throw failure;
}

/** Name the engine that was asked for in the address; else the graphics processor, where the browser has one, before WebAssembly. */
async function findEngines(asked) {
  if (asked === "webgpu" || asked === "wasm") return [asked];
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  const software = adapter?.info?.isFallbackAdapter ?? adapter?.isFallbackAdapter; // slower than WebAssembly
  return adapter && !software ? ["webgpu", "wasm"] : ["wasm"];
}

async function open(engine, model, base, progress) {
  const runtime = model.runtime[engine];
  const [weights, binary] = await loadFiles([model.file, runtime.wasm], base, progress);
  ort = await import(new URL(runtime.module, base));
  ort.env.wasm.wasmPaths = { mjs: new URL(runtime.glue, base).href };
  ort.env.wasm.wasmBinary = binary;
  const hangs = navigator.userAgent.includes("Firefox/"); // every second time or so, with threads, while it opens a large model
  ort.env.wasm.numThreads = self.crossOriginIsolated && !hangs ? Math.min(8, navigator.hardwareConcurrency) : 1;
  session = await ort.InferenceSession.create(new Uint8Array(weights), { executionProviders: [engine], logSeverityLevel: 3 });
  if (engine === "webgpu") await warmUp(model); // compiles its programs, or says that this processor cannot run them
}

/** Translate nothing of the training's size. */
async function warmUp({ sources, image_size: [height, width] }) {
  const empty = ({ name, channels }) => [name, new ort.Tensor("uint8", new Uint8Array(height * width * channels), [1, height, width, channels])];
  await session.run(Object.fromEntries(sources.map(empty)));
}

async function translate({ sources }) {
  const feeds = {};
  const specs = loaded.sources;
  for (const [index, blob] of sources.entries()) feeds[specs[index].name] = await toTensor(blob, specs[index]);
  const start = performance.now();
  const { target } = await session.run(feeds);
  const milliseconds = performance.now() - start;
  const [, height, width, channels] = target.dims;
  return { blob: await encodePng(target.data, width, height, channels), milliseconds };
}

/** Decode a picture to (1, H, W, C) uint8 as it lies in the file. */
async function toTensor(blob, { channels }) {
  if (!["image/png", "image/jpeg", "image/webp"].includes(blob.type)) {
    throw new Problem("The file is of another kind", "This page reads PNG, JPEG and WebP. Convert the file, or use pix2pix serve.", null, true);
  }
  const { raster: { width, height, data }, deep, inks } = await decode(blob, "The picture", loaded.limits);
  if (deep) throw new Problem("The picture has 16 bits", "This model takes 8 bits in each channel. Save the picture with 8 bits by the range that its values have.", null, true);
  if (inks) throw new Problem("The picture is in CMYK", "This model takes gray or RGB. Save the picture in RGB.", null, true);
  const rgba = new Uint8Array(data.buffer);
  const values = new Uint8Array(width * height * channels);
  for (let from = 0, to = 0; to < values.length; from += 4) {
    const [red, green, blue] = [rgba[from], rgba[from + 1], rgba[from + 2]];
    if (channels === 1) values[to++] = (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16; // brightness, as Pillow has it
    else for (const level of [red, green, blue]) values[to++] = level;
  }
  return new ort.Tensor("uint8", values, [1, height, width, channels]);
}
