/**
 * Lines over time with bands: rolling accuracy with its interval and baselines, equity beside buy and hold.
 */

import { LABEL_HEIGHT, baseAxis, formats, labelWidth, valueAxis } from "./axes.js";
import { hiddenTable, html, mounted, redrawing, svg } from "./dom.js";
import { extent, linearScale, niceTicks, padded, timeText, timeTicks } from "./scale.js";
import { bandPath, cleaned, linePath, nearest, thinned, thinnedBand } from "./shape.js";

const STYLES = ["accent", "ink", "warn dashed", "up", "down dashed", "muted"];
const STROKES = ["dashed", "thin"];
const TOP = 8;
const LINE = 13; // height of a baseline's name

/**
 * @typedef {object} Series
 * @property {string} name
 * @property {[number|string, number|null][]} points x (ms, or ISO 8601 text) and y; a null y is a gap.
 * @property {[number|string, number|null, number|null][]} [band] x, low and high.
 * @property {string} [style] Words: a colour (`accent`, `ink`, `muted`, `up`, `down`, `warn`), `dashed`, `thin`.
 *
 * @typedef {object} LineData
 * @property {Series[]} series
 * @property {"price"|"number"|"percent"|((y: number) => string)} [yFormat] "number" by default.
 * @property {{name: string, y: number}[]} [baselines] Horizontal lines; one that moves is a series, `muted dashed`.
 * @property {string} [label] What is drawn, for the accessible summary.
 */

/**
 * Draw lines over time with bands, a legend and a readout, as SVG.
 *
 * The buttons of the legend show and hide lines. The pointer, or the arrow keys, Home and End, choose the moment that is
 * read out; without one it is the last.
 * @param {HTMLElement} element
 * @param {LineData} data
 * @returns {{update: (data: Partial<LineData>) => void, destroy: () => void}} `update` keeps what it is not given.
 */
export function lineChart(element, data) {
  const legend = html("div", { class: "chart-legend", role: "group", "aria-label": "Lines shown" });
  const readout = html("div", { class: "chart-readout" });
  const drawing = svg("svg", { role: "img", tabindex: 0 });
  const plot = html("div", { class: "chart-plot" }, drawing);
  const tables = html("div");
  const unmount = mounted(element, "lines", legend, readout, plot, tables);
  const hidden = new Set();
  let given = {};
  let lines = [];
  let listed = ""; // what the legend shows
  let frame = null; // the scales of what is drawn
  let chosen = null; // the moment that is read out
  const drawer = redrawing(plot, draw);
  take(data);

  function take(next) {
    given = { yFormat: "number", baselines: [], label: "Lines over time", ...given, ...next };
    lines = (given.series ?? []).map((each, at) => ({
      name: each.name,
      style: (each.style ?? STYLES[at % STYLES.length]).split(/\s+/).filter(Boolean),
      points: cleaned(each.points),
      band: cleaned(each.band),
    }));
    const key = JSON.stringify(lines.map(({ name, style }) => [name, style]));
    if (key !== listed) legend.replaceChildren(...lines.map(entry)); // else a button that has the focus keeps it
    listed = key;
    describe();
    drawer.ask();
  }

  function entry(line) {
    const swatch = svg("svg", { viewBox: "0 0 20 8", "aria-hidden": "true" });
    swatch.append(svg("path", { class: classes("chart-series", line), d: "M1,4H19" }));
    const button = html("button", { type: "button", "aria-pressed": !hidden.has(line.name) }, swatch, line.name);
    button.addEventListener("click", () => {
      if (!hidden.delete(line.name)) hidden.add(line.name);
      button.setAttribute("aria-pressed", String(!hidden.has(line.name)));
      drawer.ask();
    });
    return button;
  }

  function describe() {
    const told = lines.map(({ name, points }) => [name, points.filter(([, y]) => !Number.isNaN(y))]);
    const range = extent(told.flatMap(([, points]) => points.map(([, y]) => y)));
    const span = range === null ? 1 : range[1] - range[0];
    const { value } = formats(given.yFormat, niceTicks(...padded(range), 5).step, span);
    const cells = ([name, points]) => {
      const reach = extent(points.map(([, y]) => y)) ?? [NaN, NaN];
      const [first, last] = [points[0] ?? [NaN, NaN], points.at(-1) ?? [NaN, NaN]];
      return [name, timeText(first[0]), value(first[1]), timeText(last[0]), value(last[1]), value(reach[0]), value(reach[1])];
    };
    const head = ["line", "from", "first", "until", "last", "lowest", "highest"];
    const rows = told.map(cells).concat(given.baselines.map(({ name, y }) => [name, "", "", "", value(y), "", ""]));
    tables.replaceChildren(hiddenTable(given.label, head, rows));
    const some = told.filter(([, points]) => points.length > 0);
    const words = some.map(([name, points]) => `${name} ${value(points.at(-1)[1])}`);
    drawing.setAttribute("aria-label", `${given.label}. ${words.length > 0 ? `Last: ${words.join(", ")}.` : "No values."}`);
  }

  function draw() {
    const { clientWidth: width, clientHeight: height } = plot;
    if (width === 0 || height === 0) return;
    drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
    drawing.replaceChildren();
    const shown = lines.filter(({ name }) => !hidden.has(name));
    const xs = extent(shown.flatMap(({ points, band }) => [points, band].flatMap((p) => [p[0]?.[0], p.at(-1)?.[0]])));
    const level = given.baselines.filter(({ y }) => Number.isFinite(y));
    const ys = extent(shown.flatMap(({ points, band }) => [...points, ...band].flatMap(([, ...values]) => values)));
    frame = null;
    if (xs === null || ys === null) {
      const text = lines.length > 0 && shown.length === 0 ? "Every line is hidden." : "Nothing to draw yet.";
      drawing.append(svg("text", { class: "chart-empty", x: width / 2, y: height / 2 }, text));
      readout.replaceChildren();
      return;
    }

    const domain = padded(extent([...ys, ...level.map(({ y }) => y)]));
    const bottom = height - LABEL_HEIGHT;
    const { step, ticks } = niceTicks(...domain, Math.max(2, Math.round(bottom / 44)));
    const text = formats(given.yFormat, step, domain[1] - domain[0]);
    const values = ticks.map((value) => ({ value, label: text.tick(value) }));
    const right = width - labelWidth(values.map(({ label }) => label));
    const sx = linearScale(xs, [4, right - 4]);
    const sy = linearScale(domain, [bottom, TOP]);
    const moments = timeTicks(...xs, Math.min(8, Math.max(2, Math.floor(right / 72))));
    drawing.append(
      valueAxis(values, sy, right),
      baseAxis(moments.ticks.map(({ ms, label }) => ({ value: ms, label })), sx, bottom),
      ...shown.filter(({ band }) => band.length > 0).map((line) =>
        svg("path", { class: classes("chart-series-band", line, false), d: bandPath(thinnedBand(line.band, sx), sx, sy) }),
      ),
      ...shown.map((line) =>
        svg("path", { class: classes("chart-series", line), d: linePath(thinned(line.points, sx), sx, sy) }),
      ),
      baselines(level, sy, right),
    );
    const mark = svg("g", { class: "chart-mark", "aria-hidden": "true" });
    drawing.append(mark);
    frame = { shown, sx, sy, text, bottom, mark };
    read();
  }

  function read() {
    if (frame === null) return;
    const { shown, sx, sy, text, bottom, mark } = frame;
    mark.replaceChildren();
    const moment = chosen ?? Math.max(...shown.map(({ points }) => points.at(-1)?.[0] ?? -Infinity));
    if (chosen !== null) {
      mark.append(svg("line", { class: "chart-rule", x1: sx(chosen), x2: sx(chosen), y1: TOP, y2: bottom }));
    }
    const parts = [html("b", {}, timeText(moment))];
    for (const line of shown) {
      const [x, y] = line.points[nearest(line.points, moment)] ?? [NaN, NaN];
      const [at, low, high] = line.band[nearest(line.band, moment)] ?? [];
      const between = at === x && !Number.isNaN(low) ? ` (${text.value(low)} to ${text.value(high)})` : "";
      parts.push(html("span", {}, html("b", {}, line.name), ` ${text.value(y)}${between}`));
      if (chosen !== null && !Number.isNaN(y)) {
        mark.append(svg("circle", { class: classes("chart-dot", line, false), cx: sx(x), cy: sy(y), r: 3.5 }));
      }
    }
    readout.replaceChildren(...parts);
  }

  function choose(moment, aloud) {
    chosen = moment;
    readout.setAttribute("aria-live", aloud ? "polite" : "off");
    read();
  }

  function pointed(event) {
    if (frame === null) return;
    const { left } = drawing.getBoundingClientRect();
    const at = frame.sx.invert(event.clientX - left);
    const moments = frame.shown.map(({ points }) => points[nearest(points, at)]?.[0]).filter(Number.isFinite);
    const closest = moments.sort((a, b) => Math.abs(a - at) - Math.abs(b - at))[0];
    if (closest !== undefined) choose(closest, false);
  }

  function pressed(event) {
    if (frame === null) return;
    const longest = frame.shown.reduce((a, b) => (b.points.length > a.points.length ? b : a)).points;
    const here = chosen === null ? longest.length - 1 : nearest(longest, chosen);
    const stride = event.shiftKey ? 10 : 1;
    const to = { ArrowLeft: here - stride, ArrowRight: here + stride, Home: 0, End: longest.length - 1 }[event.key];
    if (event.key === "Escape") choose(null, false);
    if (to === undefined || longest.length === 0) return;
    event.preventDefault();
    choose(longest[Math.min(longest.length - 1, Math.max(0, to))][0], true);
  }

  drawing.addEventListener("pointermove", pointed);
  drawing.addEventListener("pointerdown", pointed);
  drawing.addEventListener("pointerleave", () => choose(null, false));
  drawing.addEventListener("blur", () => choose(null, false));
  drawing.addEventListener("keydown", pressed);
  return {
    update: take,
    destroy() {
      drawer.stop();
      unmount();
    },
  };
}

function classes(base, line, dashes = true) {
  const words = line.style.map((word) => (STROKES.includes(word) ? dashes && `chart-${word}` : `chart-c-${word}`));
  return [base, ...words.filter(Boolean)].join(" ");
}

/** Horizontal lines with their names; names that would lie on one another move down. */
function baselines(level, sy, right) {
  const group = svg("g", { class: "chart-baselines", "aria-hidden": "true" });
  let last = -Infinity;
  for (const { name, y } of [...level].sort((a, b) => b.y - a.y)) {
    const at = Math.max(sy(y) - 4, last + LINE);
    last = at;
    group.append(
      svg("line", { class: "chart-baseline", x1: 0, x2: right, y1: sy(y), y2: sy(y) }),
      svg("text", { class: "chart-baseline-name", x: 4, y: at }, name),
    );
  }
  return group;
}
