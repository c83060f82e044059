/* The model behind HTTP: the service that `pix2pix serve` runs. All addresses are relative to the page. */

import { Problem } from "./problem.js";

const GONE = 2; // seconds between tries while the server does not answer

function resolve(path) {
  return new URL(path.replace(/^\//, ""), document.baseURI);
}

async function request(path, options) {
  let response;
  try {
    response = await fetch(resolve(path), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The server does not answer", "Your picture is still here. Trying again by itself until the server is back.", GONE);
  }
  if (response.ok) return response;
  throw await describe(response);
}

/** Turn an answer that reports an error (RFC 9457) into words. */
async function describe(response) {
  const wait = Number(response.headers.get("Retry-After"));
  const retry = [429, 502, 503, 504].includes(response.status) ? Math.max(1, wait || GONE) : null;
  let body = {};
  try {
    body = await response.json();
  } catch { /* not JSON: the status alone is known */ }
  if (retry !== null) return new Problem("The server is busy", `${body.detail ?? `It answered ${response.status}.`} Trying again by itself.`, retry);
  const title = { 413: "The picture is too large", 415: "The file is of another kind", 422: "The model does not take this picture" }[response.status];
  const detail = typeof body.detail === "string" ? body.detail : `The server answered ${response.status}.`;
  return new Problem(title ?? body.title ?? "The server refused", detail, null, Boolean(title));
}

export async function connect() {
  const { models } = await (await request("v1/models")).json();
  return { models, note: "Pictures go to the server of this page and to no other.", prepare: async () => {}, translate, address: resolve };
}

/** Translate encoded sources; resolve to {blob, milliseconds: {model, total}}. */
async function translate(model, sources, { seed, drawn, signal }) {
  const start = performance.now();
  const query = new URLSearchParams(seed === null ? {} : { seed });
  if (drawn) query.set("half", "whole"); // a drawing is no pair of the training, even if it has the size of one
  const headers = { Accept: shownTarget(model.target) ? "image/png" : "image/tiff" };
  let body;
  if (sources.length === 1) {
    headers["Content-Type"] = sources[0].type;
    body = await sources[0].arrayBuffer();
  } else {
    body = new FormData();
    sources.forEach((source, index) => body.append(`source_${index + 1}`, source, `source_${index + 1}`));
  }
  const response = await request(`v1/models/${encodeURIComponent(model.name)}/translate?${query}`, {
    method: "POST", body, signal, headers,
  });
  const blob = await response.blob();
  const timing = /model;dur=([\d.]+)/.exec(response.headers.get("Server-Timing") ?? "");
  return { blob, milliseconds: { model: timing ? Number(timing[1]) : null, total: performance.now() - start } };
}

/** Whether a browser can show the target as PNG. */
function shownTarget({ channels, dtype }) {
  return [1, 3].includes(channels) && ["uint8", "uint16"].includes(dtype);
}
