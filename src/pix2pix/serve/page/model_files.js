/* Download large files with progress, check them, and keep them in the browser's storage for the next visit. */

import { Problem } from "./problem.js";

/** Return the bytes of `files`, [{path, bytes, sha256}]; `progress` is told {done, total, kept}. */
export async function loadFiles(files, base, progress) {
  const store = await self.caches?.open(`pix2pix ${new URL(".", base).pathname}`).catch(() => null);
  const total = files.reduce((sum, { bytes }) => sum + bytes, 0);
  let done = 0;
  const loaded = [];
  for (const file of files) {
    const key = new URL(`${file.path}?${file.sha256}`, base);
    const kept = await store?.match(key);
    const before = done;
    const count = (bytes) => { done = before + bytes; progress({ done, total, kept: Boolean(kept) }); };
    count(0);
    let content = kept ? await receive(kept, file, count) : null;
    if (!content || !(await isWhole(content, file))) content = await download(new URL(file.path, base), file, count, store, key);
    done = before + file.bytes;
    loaded.push(content);
  }
  return loaded;
}

async function download(url, file, count, store, key) {
  let content = await ask(url, file, count, "default");
  if (!(await isWhole(content, file))) content = await ask(url, file, count, "reload"); // an older one, which the browser kept
  if (!(await isWhole(content, file))) {
    throw new Problem("The model cannot be loaded", `${file.path} is not the file that was exported. Copy the whole folder again.`);
  }
  await keep(store, key, content).catch(() => { /* storage is full or forbidden: loaded again next time */ });
  return content;
}

async function ask(url, file, count, cache) {
  const response = await fetch(url, { cache }).catch(() => null);
  if (!response?.ok) throw new Problem("The model cannot be loaded", `${file.path} is not to be had: ${response ? `status ${response.status}` : "no connection"}. Load the page again.`);
  return receive(response, file, count);
}

/** Keep a file in the place of its older versions, and a model in the place of others, which this page had before. */
async function keep(store, key, content) {
  if (!store) return;
  const isModel = (path) => path.includes("/models/");
  for (const { url } of await store.keys()) {
    const path = new URL(url).pathname;
    if (path === key.pathname || (isModel(path) && isModel(key.pathname))) await store.delete(url);
  }
  await store.put(key, new Response(content));
}

async function receive(response, { bytes }, count) {
  const content = new Uint8Array(bytes);
  let at = 0;
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    if (at + value.length > bytes) return content.subarray(0, 0);
    content.set(value, at);
    at += value.length;
    count(at);
  }
  return at === bytes ? content.buffer : content.subarray(0, 0);
}

/** Compare with the digest that the export wrote; only secure pages can compute one, elsewhere the length must do. */
async function isWhole(content, { bytes, sha256 }) {
  if (content.byteLength !== bytes) return false;
  if (!self.crypto?.subtle) return true;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("") === sha256;
}
