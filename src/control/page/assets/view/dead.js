// Dead letters: in groups that failed the same way where the daemon makes them, else one by one. A group is put back together, edited on
// the way, as a trial first or little by little.

import { get, getIfThere, post } from "../api.js";
import { button, el, fill, link } from "../element.js";
import { ask } from "../dialog.js";
import { field, heading, input, jobLink, notice, problem, section, sentence, shown } from "../parts.js";
import { table } from "../table.js";
import { plural, when, whole } from "../words.js";
import { jobsTable } from "./jobs.js";
import { EXAMPLE, parsed, patchField, slowly } from "./redrive.js";

const FILTERS = ["queue", "kind", "tenant", "tag"];

export function dead(node, { query, session, may, signal }) {
  const chosen = Object.fromEntries(FILTERS.map((name) => [name, query[name] ?? ""]));
  const [groups, list] = [el("div", {}), el("div", {})];
  const again = () => {
    shown(groups, () => grouped(chosen, query, may, signal, again));
    listed(list, chosen, query, may, signal, again);
  };
  fill(node, heading("Dead letters", button("Refresh", again), link("#/redrives", "Redrives")), filters(chosen, session), groups, list);
  again();
}

function filters(chosen, session) {
  const names = FILTERS.filter((name) => name !== "tenant" || !session.tenant);
  const form = el(
    "form",
    { class: "card", role: "search", "aria-label": "Filter dead letters", onsubmit: submit },
    el("div", { class: "filters" }, names.map((name) => field(name[0].toUpperCase() + name.slice(1), input(name, { value: chosen[name] }))), el("div", { class: "acts" }, el("button", { type: "submit", class: "primary" }, "Show"), button("Clear", () => (location.hash = "#/dead")))),
  );
  function submit(event) {
    event.preventDefault();
    location.hash = `#/dead?${new URLSearchParams([...new FormData(form)].filter(([, value]) => value))}`;
  }
  return form;
}

async function grouped(chosen, query, may, signal, again) {
  const answer = await getIfThere("/v1/dead/groups", { query: chosen, signal });
  if (!answer || answer.groups.length === 0) return null;
  const open = answer.groups.find((group) => group.fingerprint === query.group);
  const grid = table({
    label: "Groups of dead letters",
    key: (group) => group.fingerprint,
    empty: "None.",
    columns: [
      { name: "Jobs", kind: "n", cell: (group) => whole(group.jobs) },
      { name: "Kind", cell: (group) => group.kind },
      { name: "Queue", cell: (group) => group.queue },
      { name: "Failed with", kind: "words", cell: (group) => el("span", {}, el("code", {}, group.code ?? group.reason ?? "no error"), ` ${group.message ?? ""}`) },
      { name: "Oldest", cell: (group) => when(group.oldest_at) },
      { name: "Newest", cell: (group) => when(group.newest_at) },
      { name: "Look", hidden: true, kind: "act", cell: (group) => link(`#/dead?${new URLSearchParams({ ...query, group: group.fingerprint })}`, "Open") },
    ],
  });
  grid.update(answer.groups);
  return [open && group(open, may, again), section("That failed the same way", grid.node, el("p", { class: "quiet" }, `${whole(answer.looked)} dead letters were looked at${answer.next ? "; there are more" : ""}.`))];
}

function group(one, may, again) {
  const which = { fingerprint: one.fingerprint };
  return section(
    `${plural(one.jobs, "dead letter")} of ${one.kind}`,
    el("p", {}, el("code", {}, one.code ?? one.reason ?? "no error"), ` ${one.class ?? ""} `, sentence(one.message)),
    el("p", {}, "Of ", one.queue, ", from ", when(one.oldest_at), " to ", when(one.newest_at), ". For example: ", (one.sample ?? []).slice(0, 5).map((id, at) => [at > 0 && ", ", jobLink(id)])),
    may("operate") && putBack(which, one.jobs, `of ${one.kind} that failed with ${one.code ?? one.reason ?? "no error"}`, again, may),
  );
}

/** The three ways back: at once, with a change, or little by little. A patch can tell what is in a payload, so it needs to see them. */
function putBack(which, jobs, words, again, may) {
  return el(
    "div",
    { class: "acts" },
    button("Redrive", () => atOnce(which, jobs, words).then(again), { class: "primary" }),
    may("read.payload") && button("Edit and redrive", () => edited(which, jobs, words).then(again)),
    button("Redrive slowly", () => slowly(which, jobs, words, may)),
  );
}

const much = (jobs) => (jobs === null ? "all dead letters" : plural(jobs, "dead letter"));

const atOnce = (which, jobs, words) =>
  ask({
    title: `Redrive ${much(jobs)}?`,
    says: [`${sentence(much(jobs)).slice(0, -1)} ${words} go back to their queues and are tried again, at most 1,000 in one call.`, "What made them fail should be mended first, or they come back here."],
    verb: `Redrive ${jobs === null ? "all" : whole(Math.min(jobs, 1000))}`,
    word: jobs === null || jobs > 10 ? "redrive" : undefined,
    act: async () => told(await post("/v1/dead/redrive", which)),
  });

function told(answer) {
  const failed = answer.items.filter((item) => item.error);
  notice(`${plural(answer.redriven, "job")} redriven.${failed.length > 0 ? ` ${plural(failed.length, "job")} not: ${failed[0].error.message}.` : ""}${answer.more ? " There are more; redrive again." : ""}`);
}

/** A JSON patch over all of them, tried without effect before it is carried out. */
function edited(which, jobs, words) {
  const patch = patchField();
  const result = el("div", { role: "status" });
  const change = () => ({ patch: parsed(patch.value) });
  const trial = async () => {
    try {
      fill(result, wouldBe(await post("/v1/dead/redrive", { ...which, change: change(), dry_run: true, limit: 10 })));
    } catch (error) {
      fill(result, problem(error));
    }
  };
  return ask({
    title: `Edit and redrive ${much(jobs)}?`,
    says: [`The payloads of ${much(jobs)} ${words} are changed by a JSON patch (RFC 6902), and the jobs are tried again.`, el("div", {}, field("Patch", patch, `Such as ${EXAMPLE}`), button("Try on ten, without effect", trial), result)],
    verb: `Edit and redrive ${jobs === null ? "all" : whole(Math.min(jobs, 1000))}`,
    word: jobs === null || jobs > 10 ? "redrive" : undefined,
    act: async () => told(await post("/v1/dead/redrive", { ...which, change: change() })),
  });
}

function wouldBe({ items }) {
  const stay = items.filter((item) => item.error);
  return [
    el("p", {}, `${plural(items.length - stay.length, "job")} of the ${whole(items.length)} that were tried would go back${stay.length > 0 ? "; these would stay:" : "."}`),
    stay.length > 0 && el("ul", {}, stay.map((item) => el("li", {}, jobLink(item.id), ` ${item.error.message}`))),
  ];
}

function listed(node, chosen, query, may, signal, again) {
  const grid = jobsTable();
  const [trouble, more] = [el("div", {}), el("div", { class: "acts" })];
  const wanted = Object.fromEntries(Object.entries(chosen).filter(([, value]) => value));
  const isFiltered = Object.keys(wanted).length > 0;
  const acts = may("operate") && putBack(isFiltered ? wanted : { all: true }, null, isFiltered ? `with ${Object.entries(wanted).map(([name, value]) => `${name} ${value}`).join(", ")}` : "of every queue", again, may);
  fill(node, section(query.group ? "One by one, of every group" : "One by one", trouble, grid.node, more));
  let rows = [];

  async function load(cursor) {
    try {
      const page = await get("/v1/dead", { query: { ...chosen, cursor, limit: 50 }, signal });
      rows = [...rows, ...page.items];
      grid.update(rows);
      fill(more, page.next && button("Show more", () => load(page.next)), rows.length > 0 && acts);
    } catch (error) {
      if (error.name !== "AbortError") fill(trouble, problem(error));
    }
  }
  load(null);
}
