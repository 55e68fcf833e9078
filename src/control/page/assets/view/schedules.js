// Schedules: when each fires next, what became of its instants, and holding one back.

import { get, part, post } from "../api.js";
import { button, el, fill, link } from "../element.js";
import { ask } from "../dialog.js";
import { facts, heading, jobLink, json, notice, section, shown } from "../parts.js";
import { table } from "../table.js";
import { duration, when, whole } from "../words.js";

const rule = (one) => (one.cron ? `${one.cron} (${one.tz ?? "UTC"})` : `every ${duration(one.every_ms)}`);
const standing = (paused) => el("span", { class: `state ${paused ? "paused" : "ok"}` }, paused ? "paused" : "on");

export function schedules(node, { signal }) {
  const list = el("div", {});
  fill(node, heading("Schedules"), list);
  shown(list, async () => {
    const grid = table({
      label: "Schedules",
      key: (one) => one.schedule.name,
      empty: "There are no schedules. They are made by PUT /v1/schedules/{name} or in the configuration.",
      columns: [
        { name: "Name", cell: (one) => link(`#/schedules/${part(one.schedule.name)}`, one.schedule.name) },
        { name: "Stands", cell: (one) => standing(one.paused) },
        { name: "Rule", kind: "words", cell: (one) => rule(one.schedule) },
        { name: "Makes", cell: (one) => one.schedule.job.kind },
        { name: "Next", cell: (one) => when(one.next) },
        { name: "Last looked at", cell: (one) => when(one.last) },
      ],
    });
    grid.update((await get("/v1/schedules", { query: { limit: 1000 }, signal })).items);
    return section("All schedules", grid.node);
  });
}

export function schedule(node, { given: [name], may, signal }) {
  const path = `/v1/schedules/${part(name)}`;
  const [top, next, fates, made] = [el("div", {}), el("div", {}), el("div", {}), el("div", {})];
  fill(node, top, el("div", { class: "pair" }, el("div", {}, section("Fires next", next)), el("div", {}, section("What became of its instants", fates), made)));
  const load = () => {
    shown(top, async () => {
      const one = await get(path, { signal, exact: true });
      fill(made, section("Its job", json(one.schedule.job, "The job of each instant")));
      return head(one, may, path, load);
    });
    shown(next, async () => {
      const { instants } = await get(`${path}/preview`, { query: { n: 10 }, signal });
      return instants.length > 0 ? el("ol", { class: "steps" }, instants.map((at) => el("li", {}, when(at), el("p", { class: "quiet" }, at)))) : el("p", { class: "empty" }, "Never again.");
    });
    shown(fates, async () => {
      const all = await get(`${path}/occurrences`, { query: { limit: 50 }, signal });
      return all.length > 0 ? el("ol", { class: "steps" }, all.map(fate)) : el("p", { class: "empty" }, "None has come yet.");
    });
  };
  load();
}

function fate(one) {
  if (one.job) return el("li", { class: "good" }, when(one.due), " made ", jobLink(one.job.id));
  const { reason, count, through } = one.skipped ?? {};
  return el("li", { class: "warn" }, when(one.due), count > 1 && [" to ", when(through)], ` skipped${count > 1 ? ` ${whole(count)} times` : ""}: ${String(reason).replaceAll("_", " ")}`);
}

function head(one, may, path, again) {
  const { name, job } = one.schedule;
  const act = (title, says, verb, what) => button(verb, () => ask({ title, says, verb, act: async () => notice(await what()) }).then(again));
  const acts = may("operate") && [
    act(`Run ${name} now?`, `One ${job.kind} is enqueued besides those of its rule.`, "Run now", async () => ((await post(`${path}/run`)).duplicate ? "A job of its unique key is there already." : "The job is enqueued.")),
    one.paused
      ? act(`Resume ${name}?`, "Its rule makes jobs again.", "Resume", () => post(`${path}/resume`).then(() => `${name} is on again.`))
      : act(`Pause ${name}?`, "No instant makes a job until it is resumed.", "Pause", () => post(`${path}/pause`).then(() => `${name} is paused.`)),
  ];
  return [
    heading(name, standing(one.paused), acts),
    section("Facts", facts([["Rule", rule(one.schedule)], ["Missed instants", one.schedule.missed && typeof one.schedule.missed === "object" ? JSON.stringify(one.schedule.missed) : one.schedule.missed], ["Next", one.next && when(one.next)], ["Last looked at", when(one.last)], ["Version", whole(one.generation)]])),
  ];
}
