// Small charts: the last minutes of one figure, drawn as a line.

import { svg } from "./element.js";

const WIDE = 240;
const HIGH = 44;

/** A line over `values`, the newest at the right. The label says in words what the line shows. */
export function sparkline(values, label, kind = "") {
  const shown = values.slice(-WIDE);
  const top = Math.max(...shown, 0);
  const x = (at) => WIDE - (shown.length - 1 - at) * (WIDE / Math.max(60, shown.length));
  const y = (value) => HIGH - 3 - (top === 0 ? 0 : (value / top) * (HIGH - 8));
  const points = shown.map((value, at) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`);
  const chart = svg("svg", { class: `spark ${kind}`, viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", role: "img", "aria-label": label });
  chart.append(svg("line", { class: "base", x1: 0, x2: WIDE, y1: HIGH - 2.5, y2: HIGH - 2.5 }));
  if (points.length > 1) {
    chart.append(svg("polygon", { points: `${x(0).toFixed(1)},${HIGH - 3} ${points.join(" ")} ${WIDE},${HIGH - 3}` }));
    chart.append(svg("polyline", { points: points.join(" ") }));
  }
  return chart;
}

/** How much of `most` is taken. */
export function meter(value, most, label) {
  const share = most > 0 ? Math.min(1, value / most) : 0;
  const full = share >= 1 ? "full" : share > 0.85 ? "nearly" : "";
  return svg(
    "svg",
    { class: `meter ${full}`, viewBox: "0 0 100 6", preserveAspectRatio: "none", role: "img", "aria-label": label },
    svg("rect", { class: "track", width: 100, height: 6 }),
    svg("rect", { class: "part", width: (share * 100).toFixed(1), height: 6 }),
  );
}
