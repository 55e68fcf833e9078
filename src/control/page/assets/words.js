// Numbers and times as people read them. Instants are shown relative to now by the daemon's clock, with the exact one in the title.

import { el } from "./element.js";

const exact = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

/** How far the daemon's clock is ahead of this machine's, in milliseconds. */
export const clock = { ahead: 0 };

export function heardAt(date) {
  const ahead = Date.parse(date) - Date.now();
  // The header has whole seconds, and the answer took a while.
  clock.ahead = Math.abs(ahead) > 2500 ? ahead : 0;
}

export const now = () => Date.now() + clock.ahead;

/** 1,234; 123.4K with the whole number in its title. */
export function count(n) {
  const value = Number(n ?? 0);
  return value < 100_000 ? exact.format(value) : el("span", { title: exact.format(value) }, short.format(value));
}

export const whole = (n) => exact.format(Number(n ?? 0));

export const plural = (n, one, many = one + "s") => `${whole(n)} ${Number(n) === 1 ? one : many}`;

const STEPS = [[86_400_000, "d", 3_600_000, "h"], [3_600_000, "h", 60_000, "min"], [60_000, "min", 1000, "s"]];

/** 850 ms, 12 s, 2 h 5 min. */
export function duration(ms) {
  const value = Math.max(0, Number(ms));
  if (value < 1000) return `${Math.round(value)} ms`;
  for (const [unit, name, part, partName] of STEPS) {
    if (value >= unit) {
      const rest = Math.floor((value % unit) / part);
      return `${Math.floor(value / unit)} ${name}` + (rest > 0 && value < unit * 10 ? ` ${rest} ${partName}` : "");
    }
  }
  return value < 10_000 ? `${(value / 1000).toFixed(1)} s` : `${Math.round(value / 1000)} s`;
}

export function relative(instant) {
  const away = now() - Date.parse(instant);
  if (Number.isNaN(away)) return String(instant);
  if (Math.abs(away) < 1500) return "now";
  const text = duration(Math.floor(Math.abs(away) / 1000) * 1000);
  return away > 0 ? `${text} ago` : `in ${text}`;
}

/** An instant; `refresh` keeps it true. */
export function when(instant) {
  if (!instant) return "–";
  return el("time", { datetime: instant, title: `${instant} · ${new Date(instant).toLocaleString()}` }, relative(instant));
}

/** 09:24:56, with the date unless it is today's. */
export function clockTime(instant) {
  const at = new Date(instant);
  const isToday = at.toDateString() === new Date(now()).toDateString();
  return isToday ? at.toLocaleTimeString([], { hourCycle: "h23" }) : at.toLocaleString([], { hourCycle: "h23" });
}

export function refresh(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const text = relative(time.getAttribute("datetime"));
    if (time.textContent !== text) time.textContent = text;
  }
}

/** An id that is looked at and not read: its end differs, its beginning is the time. */
export const brief = (id) => `${id.slice(0, 8)}…${id.slice(-6)}`;
