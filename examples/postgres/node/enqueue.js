// Enqueues jobs inside an application's own transactions, with node-postgres.
//
//     npm ci
//     DATABASE_URL=postgres://app@localhost/app node enqueue.js

import assert from "node:assert/strict";
import pg from "pg";

/** The id of the job, which is there when the client's transaction commits. */
async function enqueue(client, kind, payload, options = {}) {
  const { rows } = await client.query("SELECT windlass.enqueue($1, $2, $3) AS id", [kind, JSON.stringify(payload), options]);
  return rows[0].id;
}

async function enqueueMany(client, jobs) {
  const { rows } = await client.query("SELECT windlass.enqueue_many($1) AS id", [JSON.stringify(jobs)]);
  return rows.map((row) => row.id);
}

/** Commits what `work` did, or nothing of it. */
async function transaction(client, work) {
  await client.query("BEGIN");
  try {
    const answer = await work();
    await client.query("COMMIT");
    return answer;
  } catch (error) {
    await client.query("ROLLBACK");
    throw error;
  }
}

const client = new pg.Client({ connectionString: process.env.DATABASE_URL });
await client.connect();
await client.query("CREATE TABLE IF NOT EXISTS orders (id int PRIMARY KEY)");

// The order and its job, or neither.
const confirm = { queue: "mail", unique_key: "confirm:17" };
const job = await transaction(client, async () => {
  await client.query("INSERT INTO orders VALUES (17) ON CONFLICT DO NOTHING");
  return enqueue(client, "order.confirm", { order: 17 }, confirm);
});
console.log("enqueued", job);

// Once more: the same key, the same job.
assert.equal(await enqueue(client, "order.confirm", { order: 17 }, confirm), job);

// What is rolled back never was.
const rolledBack = transaction(client, async () => {
  await enqueue(client, "order.confirm", { order: 18 });
  throw new Error("no stock");
});
await assert.rejects(rolledBack, /no stock/);

// Many at once; one that is wrong is named, and nothing is written.
const ids = await enqueueMany(client, [0, 1, 2].map((n) => ({ kind: "report.build", payload: { n } })));
console.log("enqueued", ids.length);
await assert.rejects(enqueue(client, "report.build", {}, { priority: 99 }), (error) => {
  console.log("refused", error.message);
  return error.code === "WLE05";
});
await client.end();
