/* Picture files from a person: what kind they are, and their pixels where the browser can show them. */

import { nameOther, readHeader } from "./header.js";
import { Problem, formatBytes } from "./problem.js";
import { turned } from "./raster.js";

const KINDS = [
  { type: "image/png", shown: true, starts: [[0x89, 0x50, 0x4e, 0x47]] },
  { type: "image/jpeg", shown: true, starts: [[0xff, 0xd8, 0xff]] },
  { type: "image/webp", shown: true, starts: [[0x52, 0x49, 0x46, 0x46]] },
  { type: "image/tiff", shown: false, starts: [[0x49, 0x49, 0x2a, 0], [0x4d, 0x4d, 0, 0x2a], [0x49, 0x49, 0x2b, 0], [0x4d, 0x4d, 0, 0x2b]] },
  { type: "image/gif", shown: true, starts: [[0x47, 0x49, 0x46, 0x38]] },
  { type: "image/bmp", shown: true, starts: [[0x42, 0x4d]] },
  { type: "image/avif", shown: false, at: 4, starts: [[0x66, 0x74, 0x79, 0x70, 0x61, 0x76, 0x69]] },
  { type: "application/x-npy", shown: false, starts: [[0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59]] },
];

/** Read a file: return {blob, name, raster or null}. Raises Problem for what is no picture, or exceeds the limits. */
export async function readPicture(file, limits) {
  const name = file.name || "The pasted picture";
  if (limits && file.size > limits.bytes) {
    throw new Problem("The file is too large", `${name} has ${formatBytes(file.size)}; at most ${formatBytes(limits.bytes)} are taken.`);
  }
  const head = new Uint8Array(await file.slice(0, 256).arrayBuffer());
  const kind = KINDS.find(({ at = 0, starts }) => starts.some((start) => start.every((byte, i) => head[at + i] === byte)));
  if (!kind) {
    const other = nameOther(head);
    if (other) throw new Problem("The file is of another kind", `${name} is ${other}. Save it as PNG or JPEG and choose that.`);
    throw new Problem("This is not a picture", `${name} is no PNG, JPEG, WebP, TIFF, GIF, BMP, AVIF or .npy file. Choose another file.`);
  }
  const blob = new Blob([file], { type: kind.type });
  return { blob, name, raster: kind.shown ? (await decode(blob, name, limits)).raster : null };
}

/** Decode a picture to {raster, deep: whether it has 16 bits, inks: whether it is in CMYK}; pixels as they lie in the file. */
export async function decode(blob, name, limits) {
  const header = readHeader(new Uint8Array(await blob.arrayBuffer()), blob.type);
  if (header?.moves) throw new Problem("The picture moves", `${name} has several frames. Save one of them as PNG.`, null, true);
  const plain = header && new Blob([await new Blob(header.parts).arrayBuffer()], { type: blob.type }); // one part: Firefox reads no JPEG of several
  const bitmap = plain && (await createImageBitmap(plain, { colorSpaceConversion: "none", premultiplyAlpha: "none" }).catch(() => null));
  if (!bitmap) {
    throw new Problem("The picture cannot be read", `${name} is damaged or not whole. Choose another file.`, null, true);
  }
  const { width, height } = bitmap;
  const [least, narrowest] = limits?.smallest ?? [1, 1]; // a smaller side is enlarged for the model, and the other with it
  const seen = width * height * Math.max(1, least / height, narrowest / width) ** 2;
  if (limits && seen > limits.pixels) {
    bitmap.close();
    const enlarged = seen > width * height ? `, for the model ${(seen / 1e6).toFixed(1)} million` : "";
    throw new Problem(
      "The picture is too large",
      `${name} has ${width} × ${height} pixels${enlarged}; at most ${(limits.pixels / 1e6).toFixed(1)} million are taken.`,
    );
  }
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true, colorSpace: "srgb" });
  context.fillStyle = "#ffffff"; // what the model's service puts behind transparent pixels
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const data = new Uint32Array(context.getImageData(0, 0, width, height).data.buffer);
  return { raster: turned({ width, height, data }, header.turn), deep: header.deep, inks: header.inks };
}
