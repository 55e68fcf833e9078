// The frame: who is signed in, which view the address names, and what stands above and beside every view.

import { get, remove, signedOut } from "./api.js";
import { button, el, fill, link, svg } from "./element.js";
import { live } from "./live.js";
import { problem } from "./parts.js";
import { refresh, whole } from "./words.js";
import { login } from "./view/login.js";
import { overview } from "./view/overview.js";
import { queues } from "./view/queues.js";
import { jobs } from "./view/jobs.js";
import { job } from "./view/job.js";
import { dead } from "./view/dead.js";
import { redrives } from "./view/redrive.js";
import { schedule, schedules } from "./view/schedules.js";
import { daemons } from "./view/daemons.js";
import { doctor } from "./view/doctor.js";
import { enqueue } from "./view/enqueue.js";

/** Every view: its address, its entry in the navigation, the scope it needs, and whether one tenant's caller has it. */
const VIEWS = [
  { path: /^$/, at: "#/", name: "Overview", scope: "read", own: true, show: overview },
  { path: /^queues$/, at: "#/queues", name: "Queues", scope: "read", show: queues },
  { path: /^jobs$/, at: "#/jobs", name: "Jobs", scope: "read", own: true, show: jobs },
  { path: /^jobs\/([^/]+)$/, under: "#/jobs", scope: "read", own: true, show: job },
  { path: /^dead$/, at: "#/dead", name: "Dead letters", scope: "read", own: true, show: dead },
  { path: /^redrives$/, under: "#/dead", scope: "read", own: true, show: redrives },
  { path: /^schedules$/, at: "#/schedules", name: "Schedules", scope: "read", show: schedules },
  { path: /^schedules\/([^/]+)$/, under: "#/schedules", scope: "read", show: schedule },
  { path: /^daemons$/, at: "#/daemons", name: "Daemons", scope: "read", show: daemons },
  { path: /^doctor$/, at: "#/doctor", name: "Doctor", scope: "read", show: doctor },
  { path: /^enqueue$/, at: "#/enqueue", name: "Enqueue", scope: "enqueue", own: true, show: enqueue },
];

const at = (id) => document.getElementById(id);
let session = null;
let leaving = new AbortController();

const may = (scope) => session.scopes.includes(scope);
const has = (view) => may(view.scope) && (view.own || !session.tenant);

async function start() {
  try {
    session = await get("/v1/session");
  } catch (error) {
    return error.status === 401 ? signIn() : unreachable(error);
  }
  if (may("read") && !session.tenant) live.start();
  frame();
  route();
}

function signIn(says) {
  leave();
  session = null;
  live.stop();
  fill(at("nav"));
  frame();
  document.title = "Sign in · Windlass";
  fill(at("main"), login(start, says));
  at("main").querySelector("input").focus();
}

function unreachable(error) {
  fill(at("main"), problem(error), button("Try again", start, { class: "primary" }));
}

async function signOut() {
  try {
    await remove("/v1/session");
  } finally {
    signIn("You are signed out.");
  }
}

function leave() {
  leaving.abort();
  leaving = new AbortController();
}

function route() {
  if (!session) return;
  leave();
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const view = VIEWS.find((one) => one.path.test(path));
  const name = view?.at ?? view?.under;
  for (const entry of at("nav").querySelectorAll("a")) {
    if (entry.getAttribute("href") === name) entry.setAttribute("aria-current", "page");
    else entry.removeAttribute("aria-current");
  }
  const given = view ? view.path.exec(path).slice(1).map(decoded) : [];
  const context = { given, query: Object.fromEntries(new URLSearchParams(query)), session, may, signal: leaving.signal };
  const node = el("div", {});
  fill(at("main"), node);
  window.scrollTo(0, 0);
  document.title = `${[...given, view?.name ?? ""].filter(Boolean).join(" ") || "Job"} · Windlass`;
  if (!view) fill(node, el("p", {}, "There is no such view. "), link("#/", "To the overview"));
  else if (!has(view)) fill(node, el("h1", {}, view.name ?? ""), el("p", {}, refusal(view)));
  else view.show(node, context);
}

function refusal(view) {
  if (!may(view.scope)) return `Your token has not the scope “${view.scope}”; ask an operator for one that has.`;
  return `This is not one tenant's affair, and your token is bound to ${session.tenant}.`;
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function frame() {
  const mark = svg("svg", { viewBox: "0 0 32 32", width: 26, height: 26, "aria-hidden": "true" });
  mark.append(svg("rect", { width: 32, height: 32, rx: 7, fill: "#0b5cad" }));
  const lines = { fill: "none", stroke: "#fff", "stroke-width": 2.4, "stroke-linecap": "round" };
  mark.append(svg("circle", { cx: 16, cy: 14, r: 6, ...lines }), svg("path", { d: "M16 3.5v4.2M16 20.3V28M5.5 14h4.2M22.3 14h4.2M16 28h6", ...lines }));
  fill(
    at("bar"),
    el("a", { class: "brand", href: "#/" }, mark, "Windlass"),
    el("span", { class: "space" }),
    session && !session.tenant && may("read") && el("span", { id: "standing", class: "standing" }),
    session && el("span", { class: "who", title: session.scopes.join(", ") }, session.tenant ? `${session.name} · ${session.tenant}` : session.name),
    button(themeName(), turnTheme, { id: "theme", class: "small" }),
    session?.shown === "session" && button("Sign out", signOut, { class: "small" }),
  );
  if (session) fill(at("nav"), VIEWS.filter((view) => view.name && has(view)).map((view) => link(view.at, view.name)));
  standing();
}

function standing() {
  const node = at("standing");
  if (!node) return;
  const trouble = live.trouble;
  const words = { connected: "Live", waiting: document.hidden ? "Paused" : "Connecting…", off: "" };
  node.className = `standing ${trouble ? "trouble" : live.standing}`;
  node.textContent = trouble ? "Store does not answer" : words[live.standing];
  node.title = trouble?.detail ?? "";
}

function badge() {
  const entry = at("nav").querySelector('a[href="#/dead"]');
  if (!entry || !live.queues) return;
  const dead = live.queues.reduce((sum, queue) => sum + queue.jobs.dead, 0);
  const words = dead > 9999 ? "9999+" : whole(dead);
  if (entry.dataset.dead === words) return;
  entry.dataset.dead = words;
  fill(entry, "Dead letters", dead > 0 && el("span", { class: "badge", "aria-label": `${whole(dead)} of them` }, words));
}

const THEMES = ["auto", "light", "dark"];

function theme() {
  try {
    const kept = localStorage.getItem("theme");
    return THEMES.includes(kept) ? kept : "auto";
  } catch {
    return "auto";
  }
}

const themeName = () => ({ auto: "Theme: auto", light: "Theme: light", dark: "Theme: dark" })[theme()];

function turnTheme() {
  const next = THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length];
  try {
    localStorage.setItem("theme", next);
  } catch {
    // A browser that keeps nothing shows its own choice.
  }
  dress();
  at("theme").textContent = themeName();
}

const dress = () => (document.documentElement.dataset.theme = theme());

dress();
at("skip").addEventListener("click", () => at("main").focus());
window.addEventListener("hashchange", route);
signedOut.addEventListener("out", () => session && signIn("Your session has ended. Sign in again; what you looked at is still in the address."));
for (const what of ["standing", "trouble"]) live.addEventListener(what, standing);
live.addEventListener("queues", badge);
setInterval(() => document.hidden || refresh(document), 1000);
document.addEventListener("keydown", (event) => {
  const types = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) || document.querySelector("dialog[open]");
  if (event.key !== "/" || types || event.ctrlKey || event.metaKey || event.altKey || !session) return;
  event.preventDefault();
  location.hash = "#/jobs?find";
});
start();
