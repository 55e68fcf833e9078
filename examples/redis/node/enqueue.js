// Enqueues jobs with ioredis: by the function, which answers, and by the inbox, which any Redis takes.
//
//     npm ci
//     REDIS_URL=redis://producer:password@localhost:6379/0 node enqueue.js

import assert from "node:assert/strict";
import { Redis } from "ioredis";

const prefix = process.env.WINDLASS_PREFIX ?? "windlass";
const server = new Redis(process.env.REDIS_URL, { enableReadyCheck: false });

/** The ids of the jobs: all of them are there once this resolves, or none. */
async function enqueue(queue, ...envelopes) {
  return server.fcall("windlass_enqueue", 1, `${prefix}:{${queue}}`, ...envelopes.map((envelope) => JSON.stringify(envelope)));
}

const confirm = { kind: "order.confirm", payload: { order: 17 }, unique_key: "confirm:17" };
const [job] = await enqueue("mail", confirm);
console.log("enqueued", job);

// Once more: the same key, the same job.
assert.deepEqual(await enqueue("mail", confirm), [job]);

// Many at once; one that is wrong is named, and nothing is written.
const reports = [0, 1, 2].map((n) => ({ kind: "report.build", payload: { n } }));
console.log("enqueued", (await enqueue("reports", ...reports)).length);
await assert.rejects(enqueue("reports", { kind: "report.build", payload: {}, priority: 99 }), (error) => {
  const [code, ...message] = error.message.split(" ");
  console.log("refused", message.join(" "));
  return code === "WINDLASS_OUT_OF_RANGE";
});

// Nobody answers here, and nobody has to be there: a daemon takes it in when it runs.
await server.lpush(`${prefix}:inbox`, JSON.stringify({ kind: "report.build", payload: { n: 3 }, queue: "reports" }));
await server.quit();
