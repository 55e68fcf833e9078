// Jobs: by filters that stand in the address, a page at a time; an id leads straight to its job.

import { asked, get } from "../api.js";
import { button, el, fill } from "../element.js";
import { field, heading, input, jobLink, problem, section, select, state, STATES } from "../parts.js";
import { table } from "../table.js";
import { when, whole } from "../words.js";

const FILTERS = ["state", "queue", "kind", "tenant", "tag", "text", "created_from", "created_to"];
const ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const ROWS = 50;

export function jobs(node, { query, session, may, signal }) {
  const grid = jobsTable();
  const trouble = el("div", {});
  const more = el("div", { class: "acts" });
  const looked = el("p", { class: "quiet", role: "status" });
  const chosen = Object.fromEntries(FILTERS.map((name) => [name, query[name] ?? ""]));
  fill(node, heading("Jobs", button("Refresh", () => load(null))), filters(chosen, session, may), section("Newest first", trouble, grid.node, looked, more));
  if ("find" in query) node.querySelector('[name="id"]').focus();
  let rows = [];

  async function load(cursor) {
    fill(trouble);
    node.setAttribute("aria-busy", "true");
    try {
      const page = await get("/v1/jobs", { query: { ...chosen, cursor, limit: ROWS }, signal });
      rows = cursor ? [...rows, ...page.items] : page.items;
      grid.update(rows);
      looked.textContent = `${whole(rows.length)} shown${page.looked ? `, ${whole(page.looked)} looked at for the last page` : ""}${page.next ? "" : "; there are no more"}.`;
      fill(more, page.next && button("Show more", () => load(page.next)));
    } catch (error) {
      if (error.name !== "AbortError") fill(trouble, problem(error));
    } finally {
      node.removeAttribute("aria-busy");
    }
  }
  load(null);
}

function filters(chosen, session, may) {
  const text = (name, label) => field(label, input(name, { value: chosen[name] }));
  const instant = (name, label) => field(label, input(name, { type: "datetime-local", step: 1, value: local(chosen[name]) }));
  const later = ["text", "created_from", "created_to"];
  const form = el(
    "form",
    { class: "card", role: "search", "aria-label": "Filter jobs", onsubmit: submit },
    el(
      "div",
      { class: "filters" },
      field("State", select("state", [["", "any"], ...STATES], chosen.state)),
      text("queue", "Queue"),
      text("kind", "Kind"),
      !session.tenant && text("tenant", "Tenant"),
      text("tag", "Tag"),
      field("Job id", input("id", { placeholder: "whole id" })),
    ),
    el(
      "details",
      { open: later.some((name) => chosen[name]) },
      el("summary", {}, "More filters"),
      el("div", { class: "filters" }, may("read.payload") && text("text", "Text in the payload"), instant("created_from", "Created from"), instant("created_to", "Created before")),
    ),
    el("div", { class: "acts" }, el("button", { type: "submit", class: "primary" }, "Show"), button("Clear", () => (location.hash = "#/jobs"))),
  );

  function submit(event) {
    event.preventDefault();
    const { id, ...rest } = Object.fromEntries(new FormData(form));
    for (const name of ["created_from", "created_to"]) rest[name] &&= new Date(rest[name]).toISOString();
    const wanted = id.trim();
    location.hash = ID.test(wanted) ? `#/jobs/${wanted}` : `#/jobs${asked({ ...rest })}`;
    if (wanted && !ID.test(wanted)) form.elements.id.setCustomValidity("A job id is a UUID, as the answer to its enqueue shows it.");
    form.reportValidity();
  }
  form.addEventListener("input", () => form.elements.id.setCustomValidity(""));
  return form;
}

/** For an input that knows no time zone but this machine's. */
function local(instant) {
  const at = new Date(instant);
  if (!instant || Number.isNaN(at.getTime())) return "";
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

export function jobsTable(extra = []) {
  return table({
    label: "Jobs",
    key: (job) => job.id,
    empty: "No job fits.",
    columns: [
      { name: "Job", sign: (job) => job.id, cell: (job) => jobLink(job.id) },
      { name: "State", sign: (job) => job.state, cell: (job) => state(job.state) },
      { name: "Kind", cell: (job) => job.kind },
      { name: "Queue", cell: (job) => job.queue },
      { name: "Tenant", cell: (job) => job.tenant ?? "–" },
      { name: "Attempts", kind: "n", cell: (job) => `${job.attempt} of ${job.max_attempts}` },
      { name: "Created", sign: (job) => job.created_at, cell: (job) => when(job.created_at) },
      { name: "Says", kind: "words", cell: says },
      ...extra,
    ],
  });
}

function says(job) {
  const error = job.error && [job.error.code, job.error.message].filter(Boolean).join(": ");
  const words = [job.reason, error].filter(Boolean).join(" · ");
  return words || (job.tags?.length ? job.tags.join(", ") : "–");
}
