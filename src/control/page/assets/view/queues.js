// The queues: what stands in each, what holds it back, and holding one back.

import { part, post } from "../api.js";
import { button, el, fill } from "../element.js";
import { live } from "../live.js";
import { ask } from "../dialog.js";
import { heading, jobsLink, notice, section, select, STATES } from "../parts.js";
import { table } from "../table.js";
import { limitActs, limitsOf } from "./limits.js";
import { count, duration, plural, when } from "../words.js";

const HOLDS = [["", "until somebody resumes it"], ["900000", "15 minutes"], ["3600000", "1 hour"], ["28800000", "8 hours"], ["86400000", "1 day"]];

export function queues(node, { may, signal }) {
  const columns = [
    { name: "Queue", cell: (queue) => queue.name },
    { name: "Stands", kind: "words", sign: (queue) => JSON.stringify([queue.paused, queue.limits]), cell: (queue) => [standing(queue), limitsOf(queue)] },
    may("operate") && { name: "Acts", hidden: true, kind: "act", sign: (queue) => JSON.stringify([Boolean(queue.paused), queue.limits]), cell: acts },
    { name: "Oldest", kind: "n", cell: (queue) => (queue.oldest_queued_ms ?? null) === null ? "–" : duration(queue.oldest_queued_ms) },
    ...STATES.map((state) => ({
      name: state[0].toUpperCase() + state.slice(1),
      kind: "n",
      sign: (queue) => queue.jobs[state],
      cell: (queue) => (queue.jobs[state] > 0 ? jobsLink({ queue: queue.name, state }, count(queue.jobs[state])) : "0"),
    })),
  ].filter(Boolean);
  const grid = table({ label: "Queues", columns, key: (queue) => queue.name, empty: "There are no queues yet. The first job that is enqueued makes its queue." });
  fill(node, heading("Queues"), section("All queues", grid.node));
  live.on("queues", grid.update, signal);
}

function standing({ paused }) {
  if (!paused) return el("span", { class: "state ok" }, "open");
  return el("span", {}, el("span", { class: "state paused" }, "paused"), ` ${paused.reason} (${paused.by}, `, when(paused.at), paused.until && [", ends ", when(paused.until)], ")");
}

function acts(queue) {
  const hold = queue.paused
    ? button("Resume", () => resume(queue), { class: "small", "aria-label": `Resume ${queue.name}` })
    : button("Pause", () => pause(queue), { class: "small", "aria-label": `Pause ${queue.name}` });
  return [hold, limitActs(queue)];
}

const pause = (queue) =>
  ask({
    title: `Pause ${queue.name}?`,
    says: `No daemon starts a job of ${queue.name} until it is resumed. ${plural(queue.jobs.running, "job that runs ends", "jobs that run end")} as ever; ${plural(queue.jobs.queued, "job waits", "jobs wait")}.`,
    verb: `Pause ${queue.name}`,
    fields: [
      { name: "reason", label: "Why", required: true, maxlength: 300, help: "Whoever wonders why nothing runs reads this." },
      { name: "for_ms", label: "For how long", control: select("for_ms", HOLDS) },
    ],
    act: async ({ reason, for_ms }) => {
      await post(`/v1/queues/${part(queue.name)}/pause`, { reason, ...(for_ms && { for_ms: Number(for_ms) }) });
      notice(`${queue.name} is paused.`);
    },
  });

const resume = (queue) =>
  ask({
    title: `Resume ${queue.name}?`,
    says: `${plural(queue.jobs.queued, "job that waits begins", "jobs that wait begin")} to run as soon as there are slots.`,
    verb: `Resume ${queue.name}`,
    act: async () => {
      await post(`/v1/queues/${part(queue.name)}/resume`);
      notice(`${queue.name} is open again.`);
    },
  });
