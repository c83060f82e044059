/* What went wrong, in words for the person at the page. */

export class Problem extends Error {
  /** `retry`: seconds after which trying again by itself may help, or null. `final`: the same picture never helps. */
  constructor(title, detail, retry = null, final = false) {
    super(`${title}: ${detail}`);
    Object.assign(this, { title, detail, retry, final });
  }
}

export function formatBytes(bytes) {
  if (bytes < 1000) return `${bytes} bytes`;
  return bytes < 1e6 ? `${Math.round(bytes / 1000)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
