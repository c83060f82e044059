/* What the header of a picture says: formats that the page does not take, and pixels that a browser would change. */

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

/** Find what a browser would not hand over as it is: {deep: 16 bits, inks: CMYK, turned: WebP that is to be turned}. */
export async function findOddities(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  if (blob.type === "image/png") return { deep: bytes[24] === 16 };
  if (blob.type === "image/jpeg") return { inks: countComponents(bytes) === 4 };
  if (blob.type === "image/webp") return { turned: orientation(bytes) > 1 };
  return {};
}

/** Read the number of components in the frame header of a JPEG. */
function countComponents(bytes) {
  for (let at = 2; at + 9 < bytes.length && bytes[at] === 0xff;) {
    const marker = bytes[at + 1];
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) return bytes[at + 9];
    at += 2 + (bytes[at + 2] << 8) + bytes[at + 3];
  }
  return 0;
}

/** Read the orientation in the Exif data of a WebP, which browsers ignore and the model's service does not; 1 without. */
function orientation(bytes) {
  const view = new DataView(bytes.buffer);
  for (let at = 12; at + 8 <= bytes.length;) {
    const size = view.getUint32(at + 4, true);
    if (text(bytes.subarray(at, at + 4)) === "EXIF") return readOrientation(bytes.subarray(at + 8, at + 8 + size));
    at += 8 + size + (size % 2);
  }
  return 1;
}

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
