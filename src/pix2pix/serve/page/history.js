/* Steps that can be undone, as pairs of functions; the oldest are forgotten when they hold too many bytes. */

export class History {
  constructor(budget = 256 * 2 ** 20) {
    this.budget = budget;
    this.done = [];
    this.undone = [];
  }

  /** Add a step {undo, redo, bytes} that has just been done. */
  add(step) {
    this.undone = [];
    this.done.push(step);
    let bytes = this.done.reduce((sum, each) => sum + each.bytes, 0);
    while (bytes > this.budget && this.done.length > 1) bytes -= this.done.shift().bytes;
  }

  undo() {
    return move(this.done, this.undone, "undo");
  }

  redo() {
    return move(this.undone, this.done, "redo");
  }
}

function move(from, to, what) {
  const step = from.pop();
  if (!step) return false;
  step[what]();
  to.push(step);
  return true;
}
