// What changes, as the daemon tells it: one stream for the whole page, none while nobody looks at it. Keeps the last minutes for the charts.

import { get } from "./api.js";

/** Samples kept: ten minutes of them, one a second. */
const KEPT = 600;
const FINAL = ["completed", "cancelled", "dead"];

class Live extends EventTarget {
  queues = null;
  daemons = null;
  trouble = null;
  /** `connected`, `waiting`, `off`. */
  standing = "off";
  samples = [];
  #source = null;
  #wanted = false;
  #timer = null;

  start() {
    this.#wanted = true;
    document.addEventListener("visibilitychange", this.#look);
    this.#timer ??= setInterval(() => this.#sample(), 1000);
    this.#look();
  }

  stop() {
    this.#wanted = false;
    document.removeEventListener("visibilitychange", this.#look);
    clearInterval(this.#timer);
    this.#timer = null;
    this.#close("off");
    [this.queues, this.daemons, this.trouble, this.samples] = [null, null, null, []];
  }

  /** Calls `told` with each change of `what` until `signal`, and at once if it is known. */
  on(what, told, signal) {
    this.addEventListener(what, () => told(this[what]), { signal });
    if (this[what] !== null) told(this[what]);
  }

  #look = () => {
    if (this.#wanted && !document.hidden) this.#open();
    else this.#close(this.#wanted ? "waiting" : "off");
  };

  #open() {
    if (this.#source) return;
    const source = (this.#source = new EventSource("/v1/events"));
    this.#stand("waiting");
    source.addEventListener("open", () => this.#stand("connected"));
    for (const what of ["queues", "daemons", "trouble"]) {
      source.addEventListener(what, (event) => this.#hear(what, JSON.parse(event.data)));
    }
    source.addEventListener("end", () => this.#again());
    source.addEventListener("error", () => this.#again());
  }

  #hear(what, value) {
    this[what] = value;
    this.dispatchEvent(new Event(what));
  }

  /** A stream tells no status; an ordinary call finds out whether somebody is signed in still. */
  #again() {
    if (!this.#source) return;
    this.#close("waiting");
    setTimeout(async () => {
      try {
        await get("/v1/queues");
      } catch (error) {
        if ([401, 403].includes(error.status)) return;
      }
      this.#look();
    }, 2000);
  }

  #close(standing) {
    this.#source?.close();
    this.#source = null;
    this.#stand(standing);
  }

  #stand(standing) {
    if (this.standing === standing) return;
    this.standing = standing;
    this.dispatchEvent(new Event("standing"));
  }

  #sample() {
    if (!this.queues || this.standing !== "connected") return;
    const all = { queued: 0, running: 0, dead: 0, ended: 0, oldest: 0, queues: new Map() };
    for (const queue of this.queues) {
      const ended = FINAL.reduce((sum, state) => sum + (queue.jobs[state] ?? 0), 0);
      const one = { queued: queue.jobs.queued, running: queue.jobs.running, dead: queue.jobs.dead, ended, oldest: queue.oldest_queued_ms ?? 0 };
      all.queues.set(queue.name, one);
      for (const name of ["queued", "running", "dead", "ended"]) all[name] += one[name];
      all.oldest = Math.max(all.oldest, one.oldest);
    }
    this.samples.push(all);
    if (this.samples.length > KEPT) this.samples.shift();
    this.dispatchEvent(new Event("samples"));
  }

  /** A series of one figure, of one queue or of all. */
  series(figure, queue) {
    const of = (sample) => (queue === undefined ? sample : sample.queues.get(queue))?.[figure] ?? 0;
    return this.samples.map(of);
  }

  /** Growth a second, averaged over five of them; what retention takes away is no growth. */
  rate(figure, queue) {
    const series = this.series(figure, queue);
    return series.map((value, at) => {
      const before = Math.max(0, at - 5);
      return at === before ? 0 : Math.max(0, value - series[before]) / (at - before);
    });
  }
}

export const live = new Live();
