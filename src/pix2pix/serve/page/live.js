/* Translate while a person draws: wait for a pause, ask once at a time, drop stale answers, try again after a failure. */

const PAUSE = 120; // milliseconds without a change
const LONGEST = 400; // milliseconds of steady drawing after which an answer is wanted all the same

export class Live {
  /** `ask(signal)` resolves to an answer; `on` has working(boolean), answer(value), failure(problem, seconds or null). */
  constructor(ask, on) {
    Object.assign(this, { ask, on, timer: null, since: null, asking: null, wanted: false });
  }

  /** Note that the source has changed. */
  changed() {
    this.since ??= performance.now();
    const left = Math.max(0, this.since + LONGEST - performance.now());
    this.after(Math.min(PAUSE, left));
  }

  /** Ask at once. */
  now() {
    this.after(0);
  }

  /** Forget what was asked: another picture or another model is there. */
  drop() {
    clearTimeout(this.timer);
    this.asking?.abort();
    Object.assign(this, { asking: null, wanted: false, since: null, timer: null });
    this.on.working(false);
  }

  after(milliseconds) {
    this.on.working(true);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.send(), milliseconds);
  }

  async send() {
    Object.assign(this, { since: null, timer: null });
    if (this.asking) {
      this.wanted = true;
      return;
    }
    const asking = new AbortController();
    this.asking = asking;
    let failed = null;
    try {
      const answer = await this.ask(asking.signal);
      if (asking === this.asking) await this.on.answer(answer);
    } catch (error) {
      failed = error;
    }
    if (asking !== this.asking) return; // stale
    this.asking = null;
    if (failed) this.fail(failed);
    else if (this.wanted) {
      this.wanted = false;
      this.send();
    } else if (this.timer === null) this.on.working(false);
  }

  fail(problem) {
    this.wanted = false;
    this.on.working(false);
    const seconds = problem.retry ?? null;
    this.on.failure(problem, seconds);
    clearTimeout(this.timer);
    this.timer = seconds === null ? null : setTimeout(() => this.send(), seconds * 1000);
  }
}
