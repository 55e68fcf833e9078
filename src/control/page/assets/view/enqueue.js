// Bringing a job by hand.

import { call } from "../api.js";
import { el, fill } from "../element.js";
import { live } from "../live.js";
import { field, heading, input, jobLink, problem } from "../parts.js";

/** Members that hold a whole number. */
const NUMBERS = ["priority", "delay_ms", "max_attempts"];

export function enqueue(node, { session, may, signal }) {
  const said = el("div", { role: "status" });
  const kinds = el("datalist", { id: "kinds" });
  const text = (name, label, help, members) => field(label, input(name, members), help);
  const payload = el("textarea", { name: "payload", rows: 8, required: true, spellcheck: "false", value: "{}" });
  const go = el("button", { type: "submit", class: "primary" }, "Enqueue");
  const form = el(
    "form",
    { class: "card", onsubmit: submit },
    field("Kind", input("kind", { required: true, list: "kinds" }), "What is to be done, such as http.call"),
    kinds,
    field("Payload (JSON)", payload),
    el(
      "details",
      {},
      el("summary", {}, "More"),
      el(
        "div",
        { class: "filters" },
        text("queue", "Queue", "That of its kind when left out"),
        !session.tenant && text("tenant", "Tenant"),
        text("tags", "Tags", "Separated by commas"),
        text("unique_key", "Unique key"),
        text("priority", "Priority", "0 first to 9 last", { type: "number", min: 0, max: 9 }),
        text("delay_ms", "Delay in milliseconds", null, { type: "number", min: 0 }),
        text("max_attempts", "Most attempts", null, { type: "number", min: 1 }),
      ),
    ),
    el("div", { class: "acts" }, go),
  );

  async function submit(event) {
    event.preventDefault();
    go.disabled = true;
    try {
      const done = await call("POST", "/v1/jobs", { body: envelope(Object.fromEntries(new FormData(form))) });
      fill(said, el("div", { class: "advice well" }, el("p", {}, done.duplicate ? "It was there already: " : "Enqueued: ", may("read") ? jobLink(done.id) : el("code", {}, done.id), ` (${done.status})`)));
    } catch (error) {
      fill(said, problem(error));
    } finally {
      go.disabled = false;
    }
  }

  fill(node, heading("Enqueue a job"), said, form);
  live.on("daemons", (all) => fill(kinds, [...new Set(all.flatMap((one) => one.kinds))].sort().map((kind) => el("option", { value: kind }))), signal);
}

/** As text: the payload goes as it was typed, digit by digit. */
function envelope({ payload, tags, ...rest }) {
  try {
    JSON.parse(payload);
  } catch (error) {
    throw new Error(`the payload is no JSON: ${error.message}`);
  }
  const members = Object.entries(rest).filter(([, value]) => value !== "").map(([name, value]) => [name, NUMBERS.includes(name) ? Number(value) : value]);
  const named = (tags ?? "").split(",").map((tag) => tag.trim()).filter(Boolean);
  if (named.length > 0) members.push(["tags", named]);
  return `{${[...members.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`), `"payload":${payload}`].join(",")}}`;
}
