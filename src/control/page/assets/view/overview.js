// How it goes: what comes, waits, fails and who works, for all queues together and for each.

import { get } from "../api.js";
import { meter, sparkline } from "../chart.js";
import { el, fill, link, settle } from "../element.js";
import { live } from "../live.js";
import { heading, jobLink, jobsLink, section, sentence, shown } from "../parts.js";
import { table } from "../table.js";
import { count, duration, plural, when, whole } from "../words.js";

/** Older than this at the head of a line is late. */
const LATE_MS = 60_000;

export function overview(node, { session, signal }) {
  if (session.tenant) return ofTenant(node, signal);
  const tiles = TILES.map(tile);
  const grid = queuesTable();
  const workers = el("div", {}, el("p", { class: "quiet" }, "Loading…"));
  const dead = el("div", {});
  fill(
    node,
    heading("Overview"),
    el("div", { id: "advice", role: "status" }),
    el("div", { class: "tiles" }, tiles.map((one) => one.node)),
    section("Queues", grid.node),
    el("div", { class: "pair" }, section("Who works", workers), section("Last dead letters", dead)),
  );
  const tell = () => {
    if (!live.queues) return;
    tiles.forEach((one) => one.tell());
    grid.update(live.queues);
    settle(node.querySelector("#advice"), advice());
  };
  for (const what of ["queues", "samples"]) live.on(what, tell, signal);
  live.on("daemons", (daemons) => settle(workers, who(daemons)), signal);
  let known = -1;
  live.on("queues", () => {
    const now = sum("dead");
    if (now !== known) shown(dead, () => lastDead(signal));
    known = now;
  }, signal);
}

const sum = (state) => live.queues.reduce((all, queue) => all + queue.jobs[state], 0);

const oldest = () => Math.max(0, ...live.queues.map((queue) => queue.oldest_queued_ms ?? 0));
const rate = (figure) => live.rate(figure).at(-1) ?? 0;

function endedInMinute() {
  const work = (live.daemons ?? []).filter((daemon) => daemon.live).flatMap((daemon) => Object.values(daemon.queues));
  return work.reduce((all, one) => all + one.ended_in_minute, 0);
}

/** Each figure with its words, its line, and whether it is bad. */
const TILES = [
  { name: "Attempts a minute", figure: () => count(endedInMinute()), says: () => `${rate("ended").toFixed(1)} jobs final a second`, line: () => live.rate("ended"), label: "Jobs final a second", kind: () => "good" },
  { name: "Waiting", to: "#/jobs?state=queued", figure: () => count(sum("queued")), says: () => `${whole(sum("scheduled"))} scheduled, ${whole(sum("parked"))} parked`, line: () => live.series("queued"), label: "Jobs that wait", kind: () => "" },
  { name: "Oldest waits", figure: () => (oldest() ? duration(oldest()) : "–"), says: () => (oldest() > LATE_MS ? "longer than a minute" : "at the head of a line"), line: () => live.series("oldest"), label: "Age of the oldest job that waits", kind: () => (oldest() > LATE_MS ? "warn" : "") },
  { name: "Running", to: "#/jobs?state=running", figure: () => count(sum("running")), says: () => "", line: () => live.series("running"), label: "Jobs that run", kind: () => "" },
  { name: "Dead letters", to: "#/dead", figure: () => count(sum("dead")), says: () => `${(rate("dead") * 60).toFixed(0)} more a minute`, line: () => live.series("dead"), label: "Dead letters", kind: () => (sum("dead") > 0 ? "bad" : "") },
];

function tile({ name, to, figure, says, line, label, kind }) {
  const [number, words, chart] = [el("b", {}), el("small", {}), el("div", {})];
  const node = el(to ? "a" : "div", { class: "tile", href: to }, el("span", { class: "name" }, name), number, words, chart);
  const tell = () => {
    node.className = `tile ${kind()}`;
    settle(number, figure());
    settle(words, says());
    fill(chart, sparkline(line(), label, kind()));
  };
  return { node, tell };
}

/** What somebody should look at, in words. */
function advice() {
  const says = [];
  const alive = (live.daemons ?? []).filter((daemon) => daemon.live);
  const waits = live.queues.filter((queue) => queue.jobs.queued > 0);
  if (live.trouble) says.push(el("p", {}, sentence(live.trouble.detail)));
  if (live.daemons && alive.length === 0) says.push(el("p", {}, "No daemon is alive: nothing runs. Start ", el("code", {}, "windlass run"), "."));
  for (const queue of live.queues.filter((one) => one.paused)) {
    says.push(el("p", {}, link("#/queues", queue.name), ` is paused by ${queue.paused.by}: ${queue.paused.reason}`));
  }
  for (const queue of waits.filter((one) => alive.length > 0 && !alive.some((daemon) => daemon.queues[one.name]?.slots > 0))) {
    says.push(el("p", {}, "No daemon works on ", link("#/daemons", queue.name), `, and ${plural(queue.jobs.queued, "job waits", "jobs wait")} there.`));
  }
  return says.length > 0 ? el("div", { class: "advice" }, says) : null;
}

function queuesTable() {
  const age = (queue) => (queue.oldest_queued_ms === null || queue.oldest_queued_ms === undefined ? "–" : duration(queue.oldest_queued_ms));
  const number = (name, state) => ({ name, kind: "n", sign: (queue) => queue.jobs[state], cell: (queue) => (queue.jobs[state] > 0 ? jobsLink({ queue: queue.name, state }, count(queue.jobs[state])) : "0") });
  return table({
    label: "Queues",
    key: (queue) => queue.name,
    empty: "There are no jobs yet. The first one that is enqueued makes its queue.",
    columns: [
      { name: "Queue", sign: (queue) => `${queue.name} ${Boolean(queue.paused)}`, cell: (queue) => el("span", {}, jobsLink({ queue: queue.name }, queue.name), " ", queue.paused && el("span", { class: "state paused" }, "paused")) },
      number("Waiting", "queued"),
      { name: "Oldest", kind: "n", sign: age, cell: (queue) => el("span", { class: queue.oldest_queued_ms > LATE_MS ? "late" : null }, age(queue)) },
      number("Running", "running"),
      number("Dead", "dead"),
      { name: "Ended a second", kind: "wide-only", cell: (queue) => sparkline(live.rate("ended", queue.name), `Jobs final a second in ${queue.name}`, "good") },
    ],
  });
}

function who(daemons) {
  const alive = daemons.filter((daemon) => daemon.live);
  const work = alive.flatMap((daemon) => Object.values(daemon.queues));
  const [slots, running] = ["slots", "running"].map((name) => work.reduce((all, one) => all + one[name], 0));
  if (alive.length === 0) return el("p", { class: "empty" }, "No daemon is alive.");
  return [
    el("p", {}, link("#/daemons", plural(alive.length, "daemon")), `, ${whole(running)} of ${plural(slots, "slot")} taken`),
    meter(running, slots, `${running} of ${slots} slots taken`),
  ];
}

async function lastDead(signal) {
  const { items } = await get("/v1/dead", { query: { limit: 5 }, signal });
  if (items.length === 0) return el("p", { class: "empty" }, "None. Nothing has given up.");
  return el("ul", { class: "steps" }, items.map((job) => el("li", { class: "bad" }, jobLink(job.id), " ", job.kind, " ", when(job.finished_at), el("p", { class: "quiet" }, job.error?.message || job.error?.code || job.reason))));
}

/** For whom only one tenant's jobs are there: no queue has counts, so what is newest is shown. */
function ofTenant(node, signal) {
  const [dead, running] = [el("div", {}), el("div", {})];
  fill(node, heading("Overview"), section("Running", running), section("Last dead letters", dead));
  shown(dead, () => lastDead(signal));
  shown(running, async () => {
    const { items } = await get("/v1/jobs", { query: { state: "running", limit: 10 }, signal });
    if (items.length === 0) return el("p", { class: "empty" }, "Nothing runs just now.");
    return el("ul", { class: "steps" }, items.map((job) => el("li", { class: "good" }, jobLink(job.id), " ", job.kind, " since ", when(job.started_at))));
  });
}
