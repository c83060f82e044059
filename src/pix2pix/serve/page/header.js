/* What the header of a picture says: formats that the page does not take, damage, orientation, colour spaces.

Browsers differ here: some show a damaged file as far as it goes, some convert its colours whatever they are told, some
turn it. So a file is checked here, and decoded without its colour space and its orientation. */

import { crc } from "./png.js";

const OTHERS = [
  [4, "ftyphe", "a HEIC photo"], [4, "ftypmif1", "a HEIC photo"],
  [4, "jP  ", "a JPEG 2000 picture"], [0, "\xff\x0a", "a JPEG XL picture"], [4, "JXL ", "a JPEG XL picture"],
  [0, "%PDF", "a PDF"], [0, "8BPS", "a PSD"], [4, "ftyp", "a video"],
];

const text = (bytes) => String.fromCharCode(...bytes);

/** Name a format that the page does not take, by its first bytes; null for an unknown one. */
export function nameOther(head) {
  const start = text(head);
  if (start.includes("<svg")) return "an SVG";
  return OTHERS.find(([at, mark]) => start.startsWith(mark, at))?.[2] ?? null;
}

/** Read a file: {parts: it without colour space, turn: its orientation, deep: 16 bits, inks: CMYK, moves: several frames}; null if it is not whole. */
export function readHeader(bytes, type) {
  const read = { "image/png": readPng, "image/jpeg": readJpeg, "image/webp": readWebp }[type];
  return read ? read(bytes) : { parts: [bytes], turn: 1 };
}

const PNG_DROPPED = ["cHRM", "cICP", "gAMA", "iCCP", "sRGB", "eXIf"];

function readPng(bytes) {
  const view = new DataView(bytes.buffer);
  const parts = [bytes.subarray(0, 8)];
  let [turn, frames] = [1, 1];
  for (let at = 8; at + 12 <= bytes.length;) {
    const end = at + 12 + view.getUint32(at);
    if (end > bytes.length || crc(bytes.subarray(at + 4, end - 4)) !== view.getUint32(end - 4)) return null;
    const name = text(bytes.subarray(at + 4, at + 8));
    if (name === "eXIf") turn = readOrientation(bytes.subarray(at + 8, end - 4));
    if (name === "acTL") frames = view.getUint32(at + 8);
    if (!PNG_DROPPED.includes(name)) parts.push(bytes.subarray(at, end));
    if (name === "IEND") return { parts, turn, deep: bytes[24] === 16, moves: frames > 1 };
    at = end;
  }
  return null;
}

/** Read a JPEG; every browser turns it as its Exif data say. */
function readJpeg(bytes) {
  const parts = [bytes.subarray(0, 2)];
  let components = 0;
  for (let at = 2; at + 9 < bytes.length && bytes[at] === 0xff;) {
    const marker = bytes[at + 1];
    const end = marker === 0xff ? at + 1 : at + 2 + (bytes[at + 2] << 8) + bytes[at + 3]; // 0xff: fill
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) components = bytes[at + 9];
    if (marker === 0xda) {
      parts.push(bytes.subarray(at));
      return hasEnd(bytes, end) ? { parts, turn: 1, inks: components === 4 } : null;
    }
    if (marker !== 0xe2 || text(bytes.subarray(at + 4, at + 15)) !== "ICC_PROFILE") parts.push(bytes.subarray(at, end));
    at = end;
  }
  return null;
}

/** Whether the mark of the end of a JPEG stands after `at`, among its compressed pixels. */
function hasEnd(bytes, at) {
  for (let mark = bytes.indexOf(0xff, at); mark >= 0; mark = bytes.indexOf(0xff, mark + 1)) {
    if (bytes[mark + 1] === 0xd9) return true;
  }
  return false;
}

function readWebp(bytes) {
  const view = new DataView(bytes.buffer);
  if (bytes.length < 20 || view.getUint32(4, true) + 8 > bytes.length) return null;
  const parts = [bytes.slice(0, 12)];
  let [turn, frames] = [1, 0];
  for (let at = 12; at + 8 <= bytes.length;) {
    const size = view.getUint32(at + 4, true);
    const name = text(bytes.subarray(at, at + 4));
    const part = bytes.slice(at, at + 8 + size + (size % 2));
    if (name === "EXIF") turn = readOrientation(part.subarray(8));
    if (name === "ANMF") frames += 1;
    if (name === "VP8X") part[8] &= ~0x28; // says that there are colour space and Exif data
    if (name !== "EXIF" && name !== "ICCP") parts.push(part);
    at += 8 + size + (size % 2);
  }
  new DataView(parts[0].buffer).setUint32(4, parts.reduce((sum, { length }) => sum + length, -8), true);
  return { parts, turn, moves: frames > 1 };
}

/** Read the orientation in Exif data, 1 to 8; 1 without. */
function readOrientation(chunk) {
  const exif = text(chunk.subarray(0, 4)) === "Exif" ? chunk.subarray(6) : chunk;
  const view = new DataView(exif.buffer, exif.byteOffset, exif.byteLength);
  try {
    const little = exif[0] === 0x49;
    const list = view.getUint32(4, little);
    for (let n = 0; n < view.getUint16(list, little); n += 1) {
      if (view.getUint16(list + 2 + 12 * n, little) === 0x0112) return view.getUint16(list + 10 + 12 * n, little);
    }
  } catch { /* not whole: as if there were none */ }
  return 1;
}
