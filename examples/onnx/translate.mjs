// Translate PNG images in Node.js with a file of `pix2pix export`.
//
//     npm install --ignore-scripts onnxruntime-node fast-png
//     node translate.mjs model.onnx input.png output.png
//
// A model of several sources takes an image for each, in their order, before the output. Images have the channels and
// the bits of the sources: gray for 1 channel, RGB for 3, of 8 or 16 bits; others end with an error of the runtime.

import { readFileSync, writeFileSync } from "node:fs";
import { decode, encode } from "fast-png";
import ort from "onnxruntime-node";

const [model, ...images] = process.argv.slice(2, -1);

const session = await ort.InferenceSession.create(model);
const sources = {};
for (const [i, { name, type }] of session.inputMetadata.entries()) {
  const { width, height, channels, data, palette } = decode(readFileSync(images[i]));
  if (palette) throw new Error(`${images[i]}: has a palette; save it as RGB`);
  sources[name] = new ort.Tensor(type, data, [1, height, width, channels]);
}
const { target } = await session.run(sources);
const [, height, width, channels] = target.dims;
const depth = 8 * target.data.BYTES_PER_ELEMENT;
writeFileSync(process.argv.at(-1), encode({ width, height, channels, depth, data: target.data }));
