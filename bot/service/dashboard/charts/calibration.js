/**
 * Stated probabilities against what came true: on the diagonal a model is right as often as it says.
 */

import { LABEL_HEIGHT, baseAxis, formats, labelWidth, valueAxis } from "./axes.js";
import { hiddenTable, html, mounted, redrawing, svg } from "./dom.js";
import { extent, fixedText, linearScale, niceTicks, percentText } from "./scale.js";

const TOP = 8;
const TITLE = 14; // height of the words below the axis
const LEAST_SPAN = 0.1; // a plot narrower than ten points of percent would make noise look like a finding
const RADIUS = [3, 9];

/**
 * @typedef {object} Bin
 * @property {number} stated Mean of the stated probabilities, 0 to 1.
 * @property {number} came_true Share that came true.
 * @property {number|null} [low] Interval of that share.
 * @property {number|null} [high]
 * @property {number} n Cases; the dot's area.
 */

/**
 * Draw stated probabilities against the share that came true, as SVG.
 *
 * Both axes have the same scale, no wider than the bins and their intervals need. The pointer, or the arrow keys, choose the
 * bin that is read out.
 * @param {HTMLElement} element
 * @param {{bins: Bin[], label?: string}} data
 * @returns {{update: (data: {bins?: Bin[], label?: string}) => void, destroy: () => void}} `update` keeps what it is not
 *   given.
 */
export function calibrationChart(element, data) {
  const readout = html("div", { class: "chart-readout" });
  const drawing = svg("svg", { role: "img", tabindex: 0 });
  const plot = html("div", { class: "chart-plot" }, drawing);
  const tables = html("div");
  const unmount = mounted(element, "calibration", readout, plot, tables);
  let given = {};
  let bins = [];
  let places = [];
  let chosen = -1;
  const drawer = redrawing(plot, draw);
  take(data);

  function take(next) {
    given = { label: "Calibration", ...given, ...next };
    bins = (given.bins ?? [])
      .filter((bin) => Number.isFinite(bin.stated) && Number.isFinite(bin.came_true))
      .sort((a, b) => a.stated - b.stated);
    chosen = -1;
    const rows = bins.map((bin) => [
      percentText(bin.stated), percentText(bin.came_true), percentText(bin.low), percentText(bin.high), fixedText(bin.n, 0),
    ]);
    tables.replaceChildren(hiddenTable(given.label, ["stated", "came true", "from", "to", "cases"], rows));
    drawing.setAttribute("aria-label", `${given.label}. ${summary(bins)}`);
    drawer.ask();
  }

  function draw() {
    const { clientWidth: width, clientHeight: height } = plot;
    if (width === 0 || height === 0) return;
    drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
    drawing.replaceChildren();
    places = [];
    read(-1, false);
    if (bins.length === 0) {
      drawing.append(svg("text", { class: "chart-empty", x: width / 2, y: height / 2 }, "No predictions have come due yet."));
      return;
    }

    const domain = domainOf(bins);
    const bottom = height - LABEL_HEIGHT - TITLE;
    const { step, ticks } = niceTicks(...domain, 5);
    const text = formats("percent", step, domain[1] - domain[0]);
    const marks = ticks.map((value) => ({ value, label: text.tick(value) }));
    const right = width - labelWidth(marks.map(({ label }) => label));
    const sx = linearScale(domain, [0, right]);
    const sy = linearScale(domain, [bottom, TOP]);
    const [low, high] = domain;
    drawing.append(
      valueAxis(marks, sy, right),
      baseAxis(marks, sx, bottom),
      svg("text", { class: "chart-baseline-name", x: right / 2, y: height - 2, "text-anchor": "middle" }, "stated"),
      svg("text", { class: "chart-baseline-name", x: 6, y: TOP + 10 }, "came true"),
      svg("line", { class: "chart-diagonal", x1: sx(low), y1: sy(low), x2: sx(high), y2: sy(high) }),
    );
    const most = Math.max(...bins.map((bin) => bin.n || 0), 1);
    for (const bin of bins) {
      const x = sx(bin.stated);
      if (Number.isFinite(bin.low) && Number.isFinite(bin.high)) {
        drawing.append(svg("line", { class: "chart-interval", x1: x, x2: x, y1: sy(bin.low), y2: sy(bin.high) }));
      }
    }
    places = bins.map((bin) => [sx(bin.stated), sy(bin.came_true)]);
    bins.forEach((bin, at) => {
      const r = Math.max(RADIUS[0], RADIUS[1] * Math.sqrt((bin.n || 0) / most));
      drawing.append(svg("circle", { class: "chart-dot", cx: places[at][0], cy: places[at][1], r }));
    });
  }

  function read(at, aloud) {
    chosen = at;
    readout.setAttribute("aria-live", aloud ? "polite" : "off");
    drawing.querySelectorAll(".chart-dot").forEach((dot, i) => dot.classList.toggle("chart-c-ink", i === at));
    const bin = bins[at];
    readout.textContent = bin === undefined ? summary(bins) : told(bin);
  }

  function pointed(event) {
    const { left, top } = drawing.getBoundingClientRect();
    const far = places.map(([x, y]) => Math.hypot(event.clientX - left - x, event.clientY - top - y));
    const at = far.indexOf(Math.min(...far));
    read(far[at] < 40 ? at : -1, false);
  }

  function pressed(event) {
    const to = { ArrowLeft: chosen - 1, ArrowRight: chosen + 1, Home: 0, End: bins.length - 1 }[event.key];
    if (event.key === "Escape") read(-1, false);
    if (to === undefined || bins.length === 0) return;
    event.preventDefault();
    read(Math.min(bins.length - 1, Math.max(0, to)), true);
  }

  drawing.addEventListener("pointermove", pointed);
  drawing.addEventListener("pointerdown", pointed);
  drawing.addEventListener("pointerleave", () => read(-1, false));
  drawing.addEventListener("blur", () => read(-1, false));
  drawing.addEventListener("keydown", pressed);
  return {
    update: take,
    destroy() {
      drawer.stop();
      unmount();
    },
  };
}

function domainOf(bins) {
  const [low, high] = extent(bins.flatMap((bin) => [bin.stated, bin.came_true, bin.low, bin.high]));
  const span = Math.max((high - low) * 1.1, LEAST_SPAN);
  const centre = Math.min(1 - span / 2, Math.max(span / 2, (low + high) / 2));
  return span >= 1 ? [0, 1] : [centre - span / 2, centre + span / 2];
}

function told(bin) {
  const known = Number.isFinite(bin.low) && Number.isFinite(bin.high);
  const between = known ? ` (${percentText(bin.low)} to ${percentText(bin.high)})` : "";
  return `stated ${percentText(bin.stated)}: came true ${percentText(bin.came_true)}${between}, ${fixedText(bin.n, 0)} cases`;
}

/** How many bins agree with what was stated, and what was stated at most. */
function summary(bins) {
  if (bins.length === 0) return "No predictions have come due yet.";
  const judged = bins.filter((bin) => Number.isFinite(bin.low) && Number.isFinite(bin.high));
  const agree = judged.filter((bin) => bin.low <= bin.stated && bin.stated <= bin.high).length;
  const cases = bins.reduce((sum, bin) => sum + (bin.n || 0), 0);
  const share = `In ${agree} of ${judged.length} groups the stated probability lies within the interval of what came true`;
  return `${judged.length > 0 ? share : `${bins.length} groups`}; ${fixedText(cases, 0)} cases.`;
}
