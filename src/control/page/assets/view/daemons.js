// The daemons: which machines work on which queues, and how full they are.

import { meter } from "../chart.js";
import { el, fill } from "../element.js";
import { live } from "../live.js";
import { facts, heading, section } from "../parts.js";
import { table } from "../table.js";
import { plural, when, whole } from "../words.js";

export function daemons(node, { signal }) {
  const list = el("div", {});
  const known = new Map();
  fill(node, heading("Daemons"), list);
  live.on("daemons", (all) => {
    if (all.length === 0) return fill(list, section("None", el("p", { class: "empty" }, "No daemon was seen in the last hour: nothing runs.")));
    if (known.size === 0) fill(list);
    for (const one of all) {
      if (!known.has(one.holder)) {
        known.set(one.holder, card());
        list.append(known.get(one.holder).node);
      }
      known.get(one.holder).tell(one);
    }
    for (const [holder, { node }] of known) {
      if (!all.some((one) => one.holder === holder)) {
        node.remove();
        known.delete(holder);
      }
    }
  }, signal);
}

function card() {
  const [title, about] = [el("h2", {}), el("div", {})];
  const grid = table({
    label: "Its queues",
    key: (queue) => queue.name,
    empty: "It works on no queue.",
    columns: [
      { name: "Queue", cell: (queue) => queue.name },
      { name: "Taken", sign: (queue) => `${queue.running} ${queue.slots}`, cell: (queue) => meter(queue.running, queue.slots, `${queue.running} of ${queue.slots} slots taken`) },
      { name: "Running", kind: "n", cell: (queue) => `${whole(queue.running)} of ${whole(queue.slots)}` },
      { name: "Ended in a minute", kind: "n", cell: (queue) => whole(queue.ended_in_minute) },
    ],
  });
  const tell = (one) => {
    const [kind, word] = !one.live ? ["dead", "silent"] : one.draining ? ["paused", "draining"] : ["ok", "alive"];
    fill(title, `${one.node} `, el("span", { class: `state ${kind}` }, word));
    fill(about, facts([["Process", String(one.pid)], ["Version", one.version], ["Sort", one.remote && "a worker over HTTP"], ["Started", when(one.started_at)], ["Last heard", when(one.seen_at)], ["Kinds", el("details", {}, el("summary", {}, plural(one.kinds.length, "kind")), one.kinds.map((name) => el("span", { class: "tag" }, name)))]]));
    grid.update(Object.entries(one.queues).map(([name, work]) => ({ name, ...work })));
  };
  let kept = "";
  const changed = (one) => {
    const { seen_at, until, queues, ...rest } = one;
    const now = JSON.stringify(rest);
    if (now !== kept) tell(one);
    else grid.update(Object.entries(queues).map(([name, work]) => ({ name, ...work })));
    kept = now;
    about.querySelectorAll("time")[1]?.setAttribute("datetime", seen_at);
  };
  return { node: el("section", { class: "card" }, title, about, el("h3", {}, "Queues"), grid.node), tell: changed };
}
