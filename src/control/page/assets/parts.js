// Pieces that several views show: a job's state, a refusal, a list of facts, a document of JSON, a notice.

import { el, fill, link } from "./element.js";
import { brief, clockTime, whole } from "./words.js";

export const STATES = ["scheduled", "queued", "running", "parked", "completed", "cancelled", "dead"];

export const state = (word) => el("span", { class: `state ${STATES.includes(word) ? word : ""}` }, word);

export const jobLink = (id) => el("a", { href: `#/jobs/${encodeURIComponent(id)}`, class: "id", title: id }, brief(id));

export const jobsLink = (query, ...children) => link(`#/jobs?${new URLSearchParams(query)}`, ...children);

/** The port's own sentence, with its code. */
export function problem(error) {
  const places = (error.errors ?? []).filter((one) => one.message && !error.message.includes(one.message));
  return el(
    "div",
    { class: "problem", role: "alert" },
    el("p", {}, sentence(error.message), " ", el("code", {}, error.code ?? error.name)),
    places.length > 0 && el("ul", {}, places.slice(0, 20).map((one) => el("li", {}, el("code", {}, one.pointer), " ", one.message))),
    error.instance && el("p", { class: "quiet" }, "The daemon's log tells more under ", el("code", {}, error.instance)),
  );
}

export const sentence = (text) => (text ? text[0].toUpperCase() + text.slice(1) + (/[.!?…]$/.test(text) ? "" : ".") : "");

const INSTANT = /(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)/;

/** A sentence of the daemon's, its instants by the clock on the wall; the exact ones are in their titles. */
export function told(text) {
  return sentence(text).split(INSTANT).map((piece) => (INSTANT.test(piece) ? el("span", { class: "instant", title: piece }, clockTime(piece)) : piece));
}

/** `[[name, value], …]`; values that are missing are left out. */
export function facts(pairs) {
  const shown = pairs.filter(([, value]) => value !== undefined && value !== null && value !== "" && value !== false);
  return el("dl", { class: "facts" }, shown.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

/** Shown at most: a payload may be 16 MiB, and a page that lays that out does nothing else. */
const SHOWN = 100_000;

export function json(value, label) {
  const text = JSON.stringify(value, null, 2) ?? "null";
  const cut = text.length > SHOWN;
  return el(
    "div",
    {},
    el("pre", { tabindex: "0", "aria-label": label }, cut ? text.slice(0, SHOWN) : text),
    cut && el("p", { class: "quiet" }, `The first ${whole(SHOWN)} of ${whole(text.length)} characters; the whole: windlass jobs show.`),
  );
}

export function section(title, ...children) {
  return el("section", { class: "card" }, el("h2", {}, title), ...children);
}

export function heading(title, ...beside) {
  return el("div", { class: "heading" }, el("h1", {}, title), el("div", { class: "acts" }, ...beside));
}

/** A sentence that goes by itself, and is read out. */
export function notice(text) {
  const notices = document.getElementById("notices");
  const one = el("p", {}, text);
  notices.append(one);
  while (notices.children.length > 3) notices.firstChild.remove();
  setTimeout(() => one.remove(), 8000);
}

/** Shows what `load` answers, or why it does not. */
export async function shown(node, load) {
  try {
    fill(node, await load());
  } catch (error) {
    if (error.name !== "AbortError") fill(node, problem(error));
  }
}

export function field(label, input, help) {
  const id = `f${Math.random().toString(36).slice(2)}`;
  input.id = id;
  if (help) input.setAttribute("aria-describedby", `${id}h`);
  return el("div", { class: "field" }, el("label", { for: id }, label), input, help && el("small", { id: `${id}h` }, help));
}

export const input = (name, members = {}) => el("input", { name, autocomplete: "off", spellcheck: "false", ...members });

export function select(name, options, chosen) {
  const of = (option) => (Array.isArray(option) ? option : [option, option]);
  return el("select", { name }, options.map(of).map(([value, text]) => el("option", { value, selected: value === (chosen ?? "") }, text)));
}
