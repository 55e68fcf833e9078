// Signing in: a token for a session.

import { post } from "../api.js";
import { el, fill } from "../element.js";
import { field, input, problem } from "../parts.js";

export function login(done, says) {
  const trouble = el("div", {});
  const token = input("token", { type: "password", required: true, autocomplete: "current-password", placeholder: "windlass_…" });
  const go = el("button", { type: "submit", class: "primary" }, "Sign in");

  async function submit(event) {
    event.preventDefault();
    go.disabled = true;
    fill(trouble);
    try {
      await post("/v1/session", { token: token.value.trim() });
      done();
    } catch (error) {
      fill(trouble, problem(error.status === 401 ? { message: "this token is unknown here, or it has ended; show another", code: error.code } : error));
      token.select();
    } finally {
      go.disabled = false;
    }
  }

  return el(
    "div",
    { class: "card login" },
    el("h1", {}, "Sign in"),
    says && el("p", { role: "status" }, says),
    el("form", { onsubmit: submit }, field("Token", token, "It stays with the daemon; your browser keeps a cookie for at most 12 hours."), trouble, go),
    el("p", { class: "quiet" }, "An operator makes one with ", el("code", {}, "windlass token create"), ". After a restart of the daemon it is asked for again."),
  );
}
