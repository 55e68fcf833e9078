// Calls of the control port. Every refusal is an error that carries the port's own sentence and code.

import { heardAt } from "./words.js";

export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `the daemon answered ${status}`);
    this.status = status;
    this.code = problem.code || String(status);
    this.errors = problem.errors || [];
    this.instance = problem.instance;
  }
}

/** Told when a call finds that nobody is signed in any more. */
export const signedOut = new EventTarget();

/** `query` leaves out members that are empty. `exact` keeps every digit of numbers that JavaScript cannot hold. */
export async function call(method, path, { body, query, signal, exact } = {}) {
  const headers = { "x-windlass": "1" };
  if (body !== undefined) headers["content-type"] = "application/json";
  const text = body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body);
  let answer;
  try {
    answer = await fetch(path + asked(query), { method, headers, body: text, signal, credentials: "same-origin", cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, { code: "unreachable", detail: "the daemon cannot be reached; is it running, and is the network up?" });
  }
  if (answer.headers.has("date")) heardAt(answer.headers.get("date"));
  return read(answer, path, exact);
}

async function read(answer, path, exact) {
  const text = await answer.text();
  let value = null;
  try {
    value = text === "" ? null : JSON.parse(text, exact ? digits : undefined);
  } catch {
    throw new Refused(answer.status, { code: "unreadable", detail: "the answer is not JSON; is a proxy in between?" });
  }
  if (answer.ok) return value;
  if (answer.status === 401 && path !== "/v1/session") signedOut.dispatchEvent(new Event("out"));
  throw new Refused(answer.status, value ?? {});
}

/** A payload's 12345678901234567890 must come back as it was, also through a form in which somebody edits it. */
function digits(_, value, context) {
  const lossy = typeof value === "number" && context?.source && !Number.isSafeInteger(value) && context.source !== String(value);
  return lossy && JSON.rawJSON ? JSON.rawJSON(context.source) : value;
}

export function asked(query = {}) {
  const members = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return members.length === 0 ? "" : `?${new URLSearchParams(members)}`;
}

export const get = (path, options) => call("GET", path, options);
export const post = (path, body = {}, options) => call("POST", path, { body, ...options });
export const remove = (path, options) => call("DELETE", path, options);

/** As `get`, with null where this daemon has no such route. */
export async function getIfThere(path, options) {
  try {
    return await get(path, options);
  } catch (error) {
    // Beside a route with an id, what is no route reads as a bad one.
    if (["no_such_route", "wrong_method", "bad_id"].includes(error.code)) return null;
    throw error;
  }
}

export const part = encodeURIComponent;
