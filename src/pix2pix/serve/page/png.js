/* Write pixels as PNG without a canvas, so that not one value is changed on the way. */

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k += 1) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c;
});
const COLOUR_TYPE = { 1: 0, 2: 4, 3: 2, 4: 6 }; // by channels

/** Encode `values` (height, width, channels), uint8, as a PNG. */
export async function encodePng(values, width, height, channels) {
  const row = width * channels;
  const lines = new Uint8Array((row + 1) * height); // each line begins with its filter, 0: none
  for (let y = 0; y < height; y += 1) lines.set(values.subarray(y * row, (y + 1) * row), y * (row + 1) + 1);
  const head = new Uint8Array(13);
  const view = new DataView(head.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  head.set([8, COLOUR_TYPE[channels], 0, 0, 0], 8);
  const stream = new Blob([lines]).stream().pipeThrough(new CompressionStream("deflate"));
  const packed = new Uint8Array(await new Response(stream).arrayBuffer());
  const signature = Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10);
  const chunks = [chunk("IHDR", head), chunk("IDAT", packed), chunk("IEND", new Uint8Array(0))];
  return new Blob([signature, ...chunks], { type: "image/png" });
}

/** Encode a raster of 32-bit pixels as a gray (channels 1) or RGB PNG (any other number). */
export function encodeRaster(raster, channels) {
  const rgba = new Uint8Array(raster.data.buffer, raster.data.byteOffset, raster.data.byteLength);
  const kept = channels === 1 ? 1 : 3;
  const values = new Uint8Array(raster.width * raster.height * kept);
  for (let from = 0, to = 0; to < values.length; from += 4) {
    for (let channel = 0; channel < kept; channel += 1) values[to++] = rgba[from + channel];
  }
  return encodePng(values, raster.width, raster.height, kept);
}

function chunk(name, body) {
  const bytes = new Uint8Array(body.length + 12);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, body.length);
  for (let i = 0; i < 4; i += 1) bytes[4 + i] = name.charCodeAt(i);
  bytes.set(body, 8);
  view.setUint32(body.length + 8, crc(bytes.subarray(4, body.length + 8)));
  return bytes;
}

/** Compute the checksum of a part. */
export function crc(bytes) {
  let c = 0xffffffff;
  for (const byte of bytes) c = TABLE[(c ^ byte) & 0xff] ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
}
