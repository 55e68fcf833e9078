// Changing a job that waits: what it carries and when and how it runs.

import { call, part } from "../api.js";
import { el } from "../element.js";
import { ask } from "../dialog.js";
import { input, notice } from "../parts.js";

/** Members that hold a whole number. */
const NUMBERS = ["priority", "max_attempts", "timeout_ms"];

export function edit(job, seesPayload) {
  const before = seesPayload ? JSON.stringify(job.payload, null, 2) : null;
  const number = (name, members) => input(name, { type: "number", step: 1, min: 0, value: job[name] ?? "", ...members });
  return ask({
    title: "Edit this job",
    says: "What is left as it is stays as it is. A job that runs, or has ended well, is not changed.",
    verb: "Save",
    fields: [
      seesPayload && { name: "payload", label: "Payload (JSON)", control: el("textarea", { name: "payload", rows: 10, spellcheck: "false", value: before }) },
      { name: "priority", label: "Priority", help: "0 first to 9 last", control: number("priority", { max: 9 }) },
      { name: "max_attempts", label: "Most attempts", control: number("max_attempts", { min: 1 }) },
      { name: "timeout_ms", label: "Timeout of an attempt in milliseconds", control: number("timeout_ms", { min: 1 }) },
      { name: "run_at", label: "Due at", control: input("run_at", { value: job.run_at }), help: "An instant with its offset, such as 2026-12-01T09:00:00Z" },
    ].filter(Boolean),
    act: async (values) => {
      const body = changes(job, before, values);
      await call("PATCH", `/v1/jobs/${part(job.id)}`, { body });
      notice("The job is changed.");
    },
  });
}

/** The body as text: a payload goes as it was typed, digit by digit. */
function changes(job, before, values) {
  const members = [];
  if (values.payload !== undefined && values.payload !== before) {
    JSON.parse(values.payload);
    members.push(`"payload":${values.payload}`);
  }
  for (const name of NUMBERS) {
    if (values[name] !== "" && Number(values[name]) !== job[name]) members.push(`"${name}":${Number(values[name])}`);
  }
  if (values.run_at && values.run_at !== job.run_at) members.push(`"run_at":${JSON.stringify(values.run_at)}`);
  if (members.length === 0) throw new Error("nothing was changed");
  return `{${members.join(",")}}`;
}
