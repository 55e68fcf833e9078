// A queue's limits: what holds it back, and changing that while the daemons run.

import { call, part } from "../api.js";
import { button, el } from "../element.js";
import { ask } from "../dialog.js";
import { input, notice } from "../parts.js";
import { when } from "../words.js";

const UNITS = { s: 1, m: 60, h: 3600 };

/** `[name, label, help, what is usual]`. */
const COUNTS = [
  ["concurrency", "Jobs at once", "Over all daemons; empty: only their slots count", null],
  ["key_concurrency", "Jobs at once of one concurrency key", "", 1],
  ["tenant_concurrency", "Jobs at once of one tenant", "Empty: no limit", null],
];
const RATES = [
  ["rate", "Starts", "Such as 10/s:20, 30/m or 100/h: so many, and how many at once after a pause; empty: no rate", null],
  ["key_rate", "Starts of one concurrency key", "Empty: no rate", null],
];
const WEIGHTS = ["tenant_weights", "Weights of tenants", "Such as acme=3,beta=2: their shares beside 1 for each other tenant; empty: all alike", ""];
const ALL = [...COUNTS, ...RATES, WEIGHTS];

/** 3; 10/s:20, 30/m:1; acme=3,beta=2. */
function said(name, limit) {
  if (limit === null || limit === undefined) return "";
  if (typeof limit !== "object") return String(limit);
  if (name === "tenant_weights") return Object.entries(limit).map(([tenant, weight]) => `${tenant}=${weight}`).join(",");
  const unit = Object.keys(UNITS).find((name) => Number.isInteger(+(limit.per_second * UNITS[name]).toPrecision(9))) ?? "s";
  return `${+(limit.per_second * UNITS[unit]).toPrecision(9)}/${unit}:${limit.burst}`;
}

function rate(text) {
  const [, starts, unit, burst] = /^([\d.]+)\/([smh])(?::(\d+))?$/.exec(text) ?? [];
  if (!unit) throw new Error(`${text} is no rate; write one such as 10/s:20, 30/m or 100/h`);
  return { per_second: Number(starts) / UNITS[unit], burst: Number(burst ?? 1) };
}

function weights(text) {
  const pairs = text.split(",").map((pair) => /^\s*([\w.:-]+)=(\d+)\s*$/.exec(pair));
  if (pairs.includes(null)) throw new Error(`${text} gives no weights; write them such as acme=3,beta=2`);
  return Object.fromEntries(pairs.map(([, tenant, weight]) => [tenant, Number(weight)]));
}

/** What a field's text is as a member of a change. */
function member(name, text) {
  if (name === "tenant_weights") return text === "" ? {} : weights(text);
  if (text === "") return null;
  return RATES.some(([of]) => of === name) ? rate(text) : Number(text);
}

/** What a table shows of them, where there is anything to show. */
export function limitsOf({ limits }) {
  if (!limits) return null;
  const has = (name) => limits.changed && name in limits.changed.limits;
  const shown = ALL.filter(([name, , , usual]) => has(name) || said(name, limits.in_force[name]) !== said(name, usual));
  const words = shown.map(([name]) => `${name} ${said(name, limits.in_force[name]) || "none"}`).join(", ");
  const { changed } = limits;
  if (changed) return el("div", {}, el("span", { class: "state paused" }, "changed"), ` ${words}: ${changed.reason} (${changed.by}, `, when(changed.at), ")");
  return words && el("div", { class: "quiet" }, words);
}

export const limitActs = (queue) =>
  queue.limits && [
    " ",
    button("Limits", () => change(queue), { class: "small", "aria-label": `Limits of ${queue.name}` }),
    queue.limits.changed && el("div", {}, button("Unset", () => lift(queue), { class: "small", "aria-label": `Unset the limits of ${queue.name}` })),
  ];

const path = (queue) => `/v1/queues/${part(queue.name)}/limits`;

function change(queue) {
  const now = queue.limits.in_force;
  const number = (name) => input(name, { type: "number", step: 1, min: 1, required: name === "key_concurrency", value: said(name, now[name]) });
  return ask({
    title: `Change the limits of ${queue.name}?`,
    says: "They hold at once, at every daemon, whatever their configuration says, until somebody lifts them. What runs goes on.",
    verb: "Change them",
    fields: [
      ...COUNTS.map(([name, label, help]) => ({ name, label, help, control: number(name) })),
      ...[...RATES, WEIGHTS].map(([name, label, help]) => ({ name, label, help, value: said(name, now[name]) })),
      { name: "reason", label: "Why", required: true, maxlength: 300, help: "Whoever wonders why it is so slow, or so fast, reads this." },
    ],
    act: async (values) => {
      const body = { reason: values.reason };
      for (const [name] of ALL.filter(([name]) => values[name].trim() !== said(name, now[name]))) {
        body[name] = member(name, values[name].trim());
      }
      if (Object.keys(body).length === 1) throw new Error("nothing was changed");
      await call("PATCH", path(queue), { body });
      notice(`The limits of ${queue.name} are changed.`);
    },
  });
}

const lift = (queue) =>
  ask({
    title: `Unset the limits of ${queue.name}?`,
    says: "What was changed is lifted: the queue is again as the daemons' configuration has it.",
    verb: "Unset them",
    fields: [{ name: "reason", label: "Why", required: true, maxlength: 300 }],
    act: async ({ reason }) => {
      await call("DELETE", path(queue), { body: { reason } });
      notice(`${queue.name} is as it is configured.`);
    },
  });
