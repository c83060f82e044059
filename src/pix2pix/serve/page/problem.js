/* What went wrong, in words for the person at the page. */

export class Problem extends Error {
  /** `retry`: seconds after which trying again by itself may help, or null. */
  constructor(title, detail, retry = null) {
    super(`${title}: ${detail}`);
    Object.assign(this, { title, detail, retry });
  }
}

export function formatBytes(bytes) {
  if (bytes < 1000) return `${bytes} bytes`;
  return bytes < 1e6 ? `${Math.round(bytes / 1000)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
