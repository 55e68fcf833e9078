// Why a job does not run: the first closed gate on top, then every gate in the order in which the job meets them.

import { get, part } from "../api.js";
import { el } from "../element.js";
import { jobLink, told } from "../parts.js";
import { plural, when } from "../words.js";

export async function explanation(id, signal) {
  const found = await get(`/v1/jobs/${part(id)}/explain`, { signal });
  const held = found.gates.find((gate) => gate.gate === found.held_by);
  return [
    held
      ? el("div", { class: "closed" }, el("p", {}, el("strong", {}, HEADS[held.gate] ?? `Held by ${words(held.gate)}`)), el("p", {}, told(found.says)), holders(held))
      : el("div", { class: "advice well" }, el("p", {}, told(found.says))),
    estimate(found),
    found.held_by !== "final" && el("ol", { class: "steps", "aria-label": "Gates" }, found.gates.map((gate) => step(gate, gate === held))),
  ];
}

/** Where the gate's name alone says too little. */
const HEADS = { final: "It has ended", lease: "It runs", due: "Its time has not come", unknown_kind: "Nobody knows its kind", daemon: "No daemon works on its queue", worker: "No daemon can run its kind" };

const words = (name) => name.replaceAll("_", " ");

function step(gate, isFirst) {
  const verdict = gate.open ? "open" : "closed";
  const kind = gate.open ? "good" : isFirst ? "bad" : "warn";
  const used = gate.limit !== undefined && ` (${gate.used ?? 0} of ${gate.limit})`;
  const opens = gate.opens_at && el("p", {}, "Opens ", when(gate.opens_at));
  return el("li", { class: kind }, el("strong", {}, words(gate.gate)), ` ${verdict}`, used, el("p", { class: "quiet" }, told(gate.says)), opens, !isFirst && holders(gate));
}

function holders(gate) {
  if (!gate.jobs?.length) return null;
  return el("p", {}, "Held by ", gate.jobs.slice(0, 20).map((id, at) => [at > 0 && ", ", jobLink(id)]));
}

function estimate({ position, starts }) {
  const place = position?.before > 0 && `${plural(position.before, "job")} before it in its line. `;
  if (!place && !starts) return null;
  const until = starts?.to && starts.to !== starts.from ? [" to ", when(starts.to)] : "";
  return el("p", {}, place, starts?.from && ["Starts ", when(starts.from), until, "."]);
}
