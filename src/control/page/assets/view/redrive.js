// Redrives that go on by themselves: so many a second, a few first to see how they do, stopped when somebody says so.

import { get, part, post } from "../api.js";
import { button, el, fill, link } from "../element.js";
import { ask } from "../dialog.js";
import { facts, heading, jobLink, notice, problem, section, select, told } from "../parts.js";
import { plural, when, whole } from "../words.js";

/** Between two looks at how far they are. */
const EVERY_MS = 2000;

export const EXAMPLE = '[{"op":"replace","path":"/url","value":"https://…"}]';

export const patchField = (members) => el("textarea", { name: "patch", rows: 5, spellcheck: "false", placeholder: EXAMPLE, ...members });

export function parsed(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`the patch is no JSON: ${error.message}`);
  }
}

export const slowly = (which, jobs, words, may) =>
  ask({
    title: "Redrive slowly?",
    says: `${jobs === null ? "All dead letters" : plural(jobs, "dead letter")} ${words} go back at the rate that you say, slower at first. It can be stopped at any time.`,
    verb: "Begin",
    word: jobs === null || jobs > 10 ? "redrive" : undefined,
    fields: [
      { name: "rate_per_s", label: "Jobs a second", type: "number", min: 1, max: 1000, value: 10, required: true },
      { name: "canary", label: "One first", control: select("canary", [["", "yes: the rest follows only once it has completed"], ["no", "no: all at once at this rate"]]) },
      may("read.payload") && { name: "patch", label: "Change each (JSON patch, may be left out)", control: patchField({ rows: 3 }), help: `Such as ${EXAMPLE}` },
    ].filter(Boolean),
    act: async ({ rate_per_s, canary, patch }) => {
      const change = patch?.trim() ? { change: { patch: parsed(patch) } } : {};
      await post("/v1/dead/redrives", { which: { ...which, ...change }, rate_per_s: Number(rate_per_s), canary: canary === "" });
      notice("The redrive has begun.");
      location.hash = "#/redrives";
    },
  });

export function redrives(node, { may, signal }) {
  const list = el("div", {});
  fill(node, heading("Redrives", link("#/dead", "To the dead letters")), list);
  let text = "";

  async function look() {
    try {
      const answer = await get("/v1/dead/redrives", { signal });
      const now = JSON.stringify(answer);
      if (now !== text) fill(list, answer.length > 0 ? answer.map((one) => card(one, may, look)) : section("None", el("p", { class: "empty" }, "No redrive goes on, and this daemon remembers none that ended.")));
      text = now;
    } catch (error) {
      if (error.name !== "AbortError") fill(list, problem(error));
    }
  }
  const timer = setInterval(() => document.hidden || document.querySelector("dialog[open]") || look(), EVERY_MS);
  signal.addEventListener("abort", () => clearInterval(timer));
  look();
}

const LOOKS = { canary: "scheduled", running: "running", done: "completed", stopped: "cancelled", failed: "dead" };

function card(one, may, again) {
  const { fingerprint, queue, kind, tenant, tag, ids, change } = one.request.which;
  const which = [fingerprint && `group ${fingerprint}`, kind, queue, tenant, tag, ids?.length > 0 && plural(ids.length, "job")].filter(Boolean);
  return el(
    "section",
    { class: "card" },
    el("h2", {}, `${which.join(", ") || "All dead letters"} `, el("span", { class: `state ${LOOKS[one.status] ?? ""}` }, one.status)),
    el("p", {}, told(one.says)),
    facts([
      ["Put back", whole(one.redriven)],
      ["Could not go back", whole(one.stayed)],
      ["Jobs a second now", one.ended_at ? undefined : `${whole(one.rate_per_s)} of ${whole(one.request.rate_per_s)}`],
      ["At most", whole(one.request.most)],
      ["First went", one.canary && jobLink(one.canary)],
      ["Changed", change && "yes"],
      ["By", one.by],
      ["Began", when(one.started_at)],
      ["Ended", one.ended_at && when(one.ended_at)],
    ]),
    may("operate") && !one.ended_at && el("div", { class: "acts" }, button("Stop", () => stop(one).then(again), { class: "danger" })),
  );
}

const stop = (one) =>
  ask({
    title: "Stop this redrive?",
    says: "What went back stays in its queue; the rest stays a dead letter.",
    verb: "Stop it",
    danger: true,
    act: async () => {
      await post(`/v1/dead/redrives/${part(one.id)}/stop`);
      notice("The redrive is stopped.");
    },
  });
