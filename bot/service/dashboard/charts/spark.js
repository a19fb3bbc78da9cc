/**
 * A small line without axes, to stand in a table or beside a number.
 */

import { mounted, redrawing, svg } from "./dom.js";
import { extent, linearScale, numberText, padded } from "./scale.js";
import { cleaned, linePath, thinned } from "./shape.js";

const MARGIN = 3; // room for the dot at the end

/**
 * @typedef {object} SparkData
 * @property {(number|null)[] | [number|string, number|null][]} points Values, or x and y; null is a gap.
 * @property {number} [baseline] A value to compare with, as a dotted line.
 * @property {string} [label] What it shows; the summary adds first, last, lowest and highest value.
 * @property {string} [style] A colour: `accent`, `ink`, `muted`, `up`, `down` or `warn`.
 * @property {(y: number) => string} [yFormat]
 */

/**
 * Draw a small line without axes, as SVG.
 * @param {HTMLElement} element Its size is that of the line (`.chart-spark`: 96 by 24 pixels).
 * @param {SparkData} data
 * @returns {{update: (data: Partial<SparkData>) => void, destroy: () => void}} `update` keeps what it is not given.
 */
export function spark(element, data) {
  let given = { ...data };
  const drawing = svg("svg", { role: "img" });
  const unmount = mounted(element, "spark", drawing);
  const drawer = redrawing(element, draw);

  function draw() {
    const { points = [], baseline, label = "Line", style = "accent", yFormat = numberText } = given;
    const line = cleaned(points.map((point, at) => (Array.isArray(point) ? point : [at, point])));
    const told = line.filter(([, y]) => !Number.isNaN(y));
    drawing.setAttribute("aria-label", summary(label, told, yFormat));
    const { clientWidth: width, clientHeight: height } = element;
    drawing.setAttribute("viewBox", `0 0 ${width || 1} ${height || 1}`);
    drawing.replaceChildren();
    if (told.length === 0 || width === 0) return;

    const sx = linearScale([line[0][0], line.at(-1)[0]], [MARGIN, width - MARGIN]);
    const values = told.map(([, y]) => y);
    const sy = linearScale(padded(extent([...values, baseline]), 0), [height - MARGIN, MARGIN]);
    if (Number.isFinite(baseline)) {
      drawing.append(svg("line", { class: "chart-baseline", x1: 0, x2: width, y1: sy(baseline), y2: sy(baseline) }));
    }
    const [x, y] = told.at(-1);
    drawing.append(
      svg("path", { class: `chart-series chart-c-${style}`, d: linePath(thinned(line, sx), sx, sy) }),
      svg("circle", { class: `chart-dot chart-c-${style}`, cx: sx(x), cy: sy(y), r: 2.5 }),
    );
  }

  return {
    update(next) {
      given = { ...given, ...next };
      drawer.ask();
    },
    destroy() {
      drawer.stop();
      unmount();
    },
  };
}

function summary(label, told, text) {
  if (told.length === 0) return `${label}: no values.`;
  const [low, high] = extent(told.map(([, y]) => y));
  const ends = `from ${text(told[0][1])} to ${text(told.at(-1)[1])}`;
  return told.length === 1 ? `${label}: ${text(low)}.` : `${label}: ${ends}, between ${text(low)} and ${text(high)}.`;
}
