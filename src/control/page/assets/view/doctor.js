// The doctor: what is well with the store, the machine and the settings, and what to do about what is not.

import { getIfThere } from "../api.js";
import { button, el, fill } from "../element.js";
import { heading, section, sentence, shown } from "../parts.js";
import { when } from "../words.js";

const ORDER = ["fail", "warn", "ok"];

export function doctor(node, { signal }) {
  const list = el("div", {});
  const look = () => {
    fill(list, el("p", { class: "quiet" }, "Examining…"));
    shown(list, async () => {
      const answer = await getIfThere("/v1/doctor", { signal });
      return answer ? findings(answer) : section("Not here", el("p", {}, "This daemon has no doctor on its port; on its machine, ", el("code", {}, "windlass check"), " looks at the settings."));
    });
  };
  fill(node, heading("Doctor", button("Examine again", look)), list);
  look();
}

function findings({ at, level, findings }) {
  const sorted = [...findings].sort((a, b) => ORDER.indexOf(a.level) - ORDER.indexOf(b.level));
  const step = (one) => el("li", { class: { ok: "good", warn: "warn", fail: "bad" }[one.level] }, el("strong", {}, one.check.replaceAll("_", " ")), " ", el("span", { class: `state ${one.level}` }, one.level), el("p", {}, sentence(one.says)), one.remedy && el("p", {}, el("strong", {}, "Do: "), sentence(one.remedy)));
  return [el("p", { class: `advice ${level === "ok" ? "well" : ""}` }, { ok: "All is well.", warn: "It works, and somebody should look at it.", fail: "It does not work, or not for long." }[level] ?? level, " Examined ", when(at), "."), section("Findings", el("ol", { class: "steps" }, sorted.map(step)))];
}
