// The question before an act: what will be done, to how many, and a word to type where it cannot be undone.

import { button, el, fill } from "./element.js";
import { field, input, problem } from "./parts.js";

/**
 * Asks, and does `act(values)` when it is answered; a refusal is shown in place, so that nothing that was typed is lost. `fields` are
 * `{name, label, help?, control?}`; `word` must be typed. Answers whether it was done.
 */
export function ask({ title, says, verb, danger = false, fields = [], word, act }) {
  return new Promise((settle) => {
    const before = document.activeElement;
    const trouble = el("div", {});
    const typed = word && input("word", { required: true, pattern: word.replace(/[^a-z0-9]/gi, "\\$&"), title: `Type ${word}` });
    const go = el("button", { type: "submit", class: danger ? "danger" : "primary" }, verb);
    const controls = fields.map(({ name, label, help, control, ...members }) => field(label, control ?? input(name, members), help));
    const form = el(
      "form",
      { method: "dialog", onsubmit: submit },
      el("h2", { id: "question" }, title),
      [says].flat().map((one) => (one instanceof Node ? one : el("p", {}, one))),
      controls,
      typed && field(`Type “${word}” to go on`, typed),
      trouble,
      el("div", { class: "acts" }, button("Leave it", () => box.close()), go),
    );
    const box = el("dialog", { "aria-labelledby": "question" }, form);
    let done = false;

    async function submit(event) {
      event.preventDefault();
      go.disabled = true;
      try {
        await act(Object.fromEntries(new FormData(form)));
        done = true;
        box.close();
      } catch (error) {
        fill(trouble, problem(error));
      } finally {
        go.disabled = false;
      }
    }

    box.addEventListener("close", () => {
      box.remove();
      if (before?.isConnected) before.focus();
      settle(done);
    });
    document.body.append(box);
    box.showModal();
    (form.querySelector("input, textarea, select") ?? (danger ? form.querySelector("button") : go)).focus();
  });
}
