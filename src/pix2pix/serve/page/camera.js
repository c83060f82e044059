/* Take one photo with the camera, cut and scaled to the size that the model was trained on. */

import { Problem } from "./problem.js";

/** Show the camera; resolve to a PNG file, or null if the person gives up. `size` is [height, width]. */
export async function takePhoto(dialog, size) {
  const video = dialog.querySelector("video");
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 }, facingMode: "environment" } });
  } catch (error) {
    const why = error.name === "NotAllowedError" ? "The browser was not allowed to use it." : "None was found.";
    throw new Problem("No camera", `${why} Choose a file instead.`);
  }
  video.srcObject = stream;
  dialog.showModal();
  try {
    await video.play();
    return await chosen(dialog, () => frame(video, size));
  } finally {
    stream.getTracks().forEach((track) => track.stop());
    video.srcObject = null;
    dialog.close();
  }
}

/** Whether this page may use a camera; a browser offers it to https and localhost alone. */
export const hasCamera = Boolean(navigator.mediaDevices?.getUserMedia);

function chosen(dialog, shoot) {
  return new Promise((resolve) => {
    dialog.querySelector("#shoot").onclick = () => resolve(shoot());
    dialog.querySelector("#camera-close").onclick = () => resolve(null);
    dialog.oncancel = () => resolve(null);
  });
}

async function frame(video, [height, width]) {
  const scale = Math.max(width / video.videoWidth, height / video.videoHeight);
  const [w, h] = [video.videoWidth * scale, video.videoHeight * scale];
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(video, (width - w) / 2, (height - h) / 2, w, h);
  return new File([await canvas.convertToBlob({ type: "image/png" })], "photo.png", { type: "image/png" });
}
