// One job: what it is, what became of each attempt, what it carries, what holds it, and what can be done about it. Follows it while it lives.

import { get, part, post, remove } from "../api.js";
import { button, el, fill, link } from "../element.js";
import { ask } from "../dialog.js";
import { facts, heading, jobLink, jobsLink, json, notice, problem, section, sentence, shown, state } from "../parts.js";
import { brief, duration, when } from "../words.js";
import { edit } from "./edit.js";
import { explanation } from "./explain.js";

const FINAL = ["completed", "cancelled", "dead"];
const WAITS = ["scheduled", "queued", "parked"];

/** As many as one call takes. */
const MOST_IDS = 100;

export function job(node, { given: [id], may, signal }) {
  const [top, carried, kin, why] = [el("div", {}), el("div", {}), el("div", {}), el("div", { class: "card" })];
  fill(node, top, el("div", { class: "pair" }, why, el("div", {}, carried, kin)));
  let known = null;
  let text = "";

  function tell(found) {
    const now = JSON.stringify(found);
    if (now === text) return;
    text = now;
    const moved = known?.state !== found.state;
    known = found;
    const focus = node.contains(document.activeElement) ? document.activeElement.textContent : null;
    fill(top, heading(`${found.kind} ${brief(found.id)}`, state(found.state), acts(found)), attempts(found));
    fill(carried, what(found));
    related(found);
    if (focus) [...top.querySelectorAll("button")].find((one) => one.textContent === focus)?.focus();
    if (moved || WAITS.includes(found.state)) explain();
  }

  function explain() {
    if (known.state === "completed" || known.state === "cancelled") return fill(why, el("h2", {}, "How it stands"), el("p", {}, `It is ${known.state}.`));
    const told = el("div", {});
    shown(told, () => explanation(id, signal)).then(() => !signal.aborted && fill(why, el("h2", {}, "Why it stands where it stands"), told));
  }

  /** Links are enough where the states cannot be had. */
  async function related(found) {
    const ids = [found.parent, ...(found.children ?? []).toReversed()].filter(Boolean);
    if (ids.length === 0) return fill(kin);
    const page = await get("/v1/jobs", { query: { id: ids.slice(0, MOST_IDS).join(","), limit: MOST_IDS }, signal }).catch(() => null);
    if (!signal.aborted) fill(kin, lineage(found, page?.items ?? []));
  }

  async function load() {
    try {
      const before = text;
      tell(await get(`/v1/jobs/${part(id)}`, { signal, exact: true }));
      if (text === before) related(known);
      if (!FINAL.includes(known.state)) follow();
    } catch (error) {
      if (error.name !== "AbortError") fill(top, heading("Job"), problem(error), jobsLink({}, "To all jobs"));
      why.hidden = true;
    }
  }

  /** An event says that it moved; what it is now is asked for, so that every digit is kept. */
  function follow() {
    let source = null;
    const close = () => {
      source?.close();
      source = null;
    };
    const look = () => {
      if (document.hidden || source || signal.aborted) return close();
      source = new EventSource(`/v1/jobs/${part(id)}/events`);
      source.addEventListener("job", async () => {
        try {
          tell(await get(`/v1/jobs/${part(id)}`, { signal, exact: true }));
        } catch {
          // The next event asks again.
        }
      });
      source.addEventListener("end", (event) => JSON.parse(event.data).why !== "time" && close());
    };
    document.addEventListener("visibilitychange", () => (document.hidden ? close() : look()), { signal });
    signal.addEventListener("abort", close);
    look();
  }

  function acts(found) {
    const all = [button("Refresh", load)];
    if (may("operate") && WAITS.includes(found.state)) all.push(button("Run now", () => retry(found).then(load)));
    if (may("operate") && found.state === "dead") all.push(button("Redrive", () => retry(found).then(load), { class: "primary" }));
    if (may("operate") && [...WAITS, "dead"].includes(found.state)) all.push(button("Edit", () => edit(found, !found.hidden?.includes("payload")).then(load)));
    if (may("operate") && !FINAL.includes(found.state)) all.push(button("Cancel", () => cancel(found).then(load)));
    if (may("admin") && found.state === "dead") all.push(button("Purge", () => purge(found), { class: "danger" }));
    return el("div", { class: "acts" }, all);
  }

  load();
}

const retry = (job) =>
  ask({
    title: job.state === "dead" ? "Redrive this dead letter?" : "Run this job now?",
    says: job.state === "dead" ? `${job.kind} ${brief(job.id)} goes back to ${job.queue} and is tried again.` : `${job.kind} ${brief(job.id)} becomes due at once.`,
    verb: job.state === "dead" ? "Redrive" : "Run now",
    act: async () => {
      await post(`/v1/jobs/${part(job.id)}/retry`);
      notice("Done: it is due.");
    },
  });

const cancel = (job) =>
  ask({
    title: "Cancel this job?",
    says: `${job.kind} ${brief(job.id)} ${job.state === "running" ? "is asked to stop" : "will not run"}. Jobs that wait for it wait on.`,
    verb: "Cancel the job",
    danger: true,
    fields: [{ name: "reason", label: "Why", maxlength: 300 }],
    act: async ({ reason }) => {
      const done = await post(`/v1/jobs/${part(job.id)}/cancel`, reason ? { reason } : {});
      notice({ now: "The job is cancelled.", asked: "Its worker has been asked to stop.", already_final: "The job had ended before." }[done.cancelled] ?? "Done.");
    },
  });

export const purge = (job) =>
  ask({
    title: "Purge this dead letter?",
    says: `${job.kind} ${brief(job.id)}, with all that it carries and every record of its attempts, is gone for good.`,
    verb: "Purge it",
    danger: true,
    word: "purge",
    act: async () => {
      await remove(`/v1/dead/${part(job.id)}`);
      notice("The dead letter is purged.");
      location.hash = "#/dead";
    },
  });

function what(job) {
  const hidden = job.hidden ?? [];
  const documents = [["Progress", job.progress], ["Result", job.result], ["Payload", hidden.includes("payload") ? undefined : job.payload], ["Meta", job.meta], ["Checkpoint", job.checkpoint]];
  return [
    section(
      "Facts",
      facts([
        ["Id", el("code", {}, job.id)],
        ["Queue", jobsLink({ queue: job.queue }, job.queue)],
        ["Kind", jobsLink({ kind: job.kind }, job.kind)],
        ["Tenant", job.tenant && jobsLink({ tenant: job.tenant }, job.tenant)],
        ["Reason", job.reason],
        ["Attempts", `${job.attempt} of ${job.max_attempts}`],
        ["Priority", String(job.priority)],
        ["Created", when(job.created_at)],
        ["Due", when(job.run_at)],
        ["Started", job.started_at && when(job.started_at)],
        ["Ended", job.finished_at && when(job.finished_at)],
        ["Expires", job.expires_at && when(job.expires_at)],
        ["Timeout", job.timeout_ms && duration(job.timeout_ms)],
        ["Unique key", job.unique_key],
        ["Concurrency key", job.concurrency_key],
        ["Idempotency key", job.idempotency_key],
        ["Deaths under it", job.deaths > 0 && String(job.deaths)],
        ["Held by", job.holder && el("code", {}, job.holder)],
        ["Schedule", job.schedule && link(`#/schedules/${part(job.schedule[0])}`, job.schedule[0])],
        ["After", job.after?.length > 0 && job.after.map((id) => el("div", {}, jobLink(id)))],
        ["Tags", job.tags?.length > 0 && job.tags.map((tag) => el("span", { class: "tag" }, tag))],
      ]),
    ),
    hidden.length > 0 && el("p", { class: "advice" }, "What this job carries and answers is not shown: it needs the scope ", el("code", {}, "read.payload"), "."),
    documents.filter(([, value]) => value !== undefined && value !== null).map(([name, value]) => section(name, json(value, name))),
  ];
}

function lineage(job, known) {
  const one = (id) => [jobLink(id), " ", known.filter((other) => other.id === id).map((other) => state(other.state))];
  const made = (job.children ?? []).toReversed();
  return section(
    "Lineage",
    facts([
      ["Made by", job.parent && one(job.parent)],
      ["Made", made.length > 0 && made.map((id) => el("div", {}, one(id)))],
    ]),
  );
}

function attempts(job) {
  const records = job.attempts ?? [];
  const steps = records.map((one, at) => attempt(one, records[at - 1]));
  if (job.state === "running") steps.push(el("li", { class: "warn" }, el("strong", {}, `Attempt ${job.attempt}`), " runs since ", when(job.started_at)));
  if (steps.length === 0) return null;
  return section("Attempts", el("ol", { class: "steps" }, steps.reverse()));
}

const KINDS = { completed: "good", dead: "bad", lost: "bad", retried: "bad", cancelled: "warn" };

/** With what changed since the one before: the same failure again is one thing, another failure is news. */
function attempt(one, before) {
  const took = duration(Date.parse(one.ended_at) - Date.parse(one.started_at));
  const same = one.error && before?.error && before.error.code === one.error.code && before.error.message === one.error.message;
  const moved = before && one.holder !== before.holder && " on another daemon";
  return el(
    "li",
    { class: KINDS[one.outcome] ?? "warn" },
    el("strong", {}, `Attempt ${one.number}`),
    ` ${one.outcome} after ${took}, `,
    when(one.ended_at),
    moved,
    one.error && el("p", {}, el("code", {}, one.error.code), ` ${one.error.class} `, same ? "with the same words as before" : sentence(one.error.message)),
    one.retry_at && el("p", { class: "quiet" }, "Again at ", when(one.retry_at)),
  );
}
