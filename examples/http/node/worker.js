// A worker over HTTP, of Node 18 alone: it leases jobs, keeps them while they run, settles them, and says goodbye on SIGTERM.
//
//     WINDLASS_URL=http://127.0.0.1:7717 WINDLASS_TOKEN=windlass_... node worker.js

const { randomUUID } = require("node:crypto");
const { hostname } = require("node:os");
const { setTimeout: pause } = require("node:timers/promises");

const { WINDLASS_URL: url = "http://127.0.0.1:7717", WINDLASS_TOKEN: token, WINDLASS_LEASE_MS = "15000" } = process.env;
const worker = randomUUID(); // this process
const [queue, slots, lease_ms, grace_ms] = ["node", 4, Number(WINDLASS_LEASE_MS), 10_000];
const held = new Map(); // lease -> its run
const stopping = new AbortController();
const stopped = new Promise((resolve) => stopping.signal.addEventListener("abort", resolve));

const kinds = {
  "js.count": async (job) => ({ words: job.payload.text.split(/\s+/).length }),
  "js.unsteady": async (job) => {
    if (job.attempt === 1) throw new Error("the first attempt fails");
    return { attempt: job.attempt };
  },
  "js.patient": async (job, signal) => void (await pause(job.payload.seconds * 1000, null, { signal })), // long work heeds its signal
};

/** Asks until there is an answer: every call of a worker may be made twice. */
async function call(path, body, signal) {
  const headers = { "content-type": "application/json", ...(token && { authorization: `Bearer ${token}` }) };
  for (;;) {
    try {
      const answer = await fetch(url + path, { method: "POST", headers, body: JSON.stringify(body), signal });
      const text = await answer.text();
      if (answer.ok) return text && JSON.parse(text);
      console.log(path, text);
      if (![408, 409, 429, 503].includes(answer.status)) process.exit(1);
    } catch (error) {
      signal?.throwIfAborted();
      console.log(path, error.cause?.message ?? error.message);
    }
    await pause(1000, null, { signal });
  }
}

async function run(job, stop) {
  const end = { lease: job.lease, verdict: { complete: {} } };
  try {
    end.result = await kinds[job.kind](job, stop.signal);
  } catch (error) {
    if (!stop.signal.aborted) end.verdict = { retry: { error: { code: error.name, message: error.message } } };
    else end.verdict = stop.signal.reason === "cancel" ? { cancel: { reason: "asked to stop" } } : { release: {} };
  }
  const [answer] = await call("/v1/settle", [end]);
  console.log(job.kind, job.id, Object.keys(end.verdict)[0], answer);
  held.delete(job.lease);
}

async function beat() {
  const told = await call("/v1/heartbeat", { worker, lease_ms, held: [...held.keys()], draining: stopping.signal.aborted });
  for (const why of ["lost", "cancel"]) for (const lease of told[why]) held.get(lease)?.stop.abort(why);
  return told.strays;
}

async function work(signal) {
  while (!signal.aborted) {
    while (held.size >= slots && !signal.aborted) await Promise.race([stopped, ...[...held.values()].map((run) => run.done)]);
    const asks = { queues: { [queue]: slots - held.size }, kinds: Object.keys(kinds), lease_ms, wait_ms: 20_000, nonce: randomUUID() };
    const { jobs } = await call("/v1/lease", { worker, name: hostname(), ...asks }, signal);
    for (const job of jobs) {
      const stop = new AbortController();
      held.set(job.lease, { stop, done: run(job, stop) });
    }
  }
}

(async () => {
  process.once("SIGTERM", () => stopping.abort());
  const beating = setInterval(() => beat(), lease_ms / 3);
  await work(stopping.signal).catch((error) => stopping.signal.aborted || Promise.reject(error));
  const all = Promise.all([...held.values()].map((run) => run.done));
  await Promise.race([all, pause(grace_ms, null, { ref: false })]);
  for (const { stop } of held.values()) stop.abort("release");
  await all;
  clearInterval(beating);
  const strays = await beat(); // what was granted and never begun
  if (strays.length) await call("/v1/settle", strays.map((lease) => ({ lease, verdict: { release: {} } })));
  await call("/v1/goodbye", { worker });
})();
