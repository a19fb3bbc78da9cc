/**
 * Candles, volume and a forecast on a canvas: wheel and pinch zoom, drag, keyboard, crosshair with a readout.
 */

import { paint, paintCross } from "./candle_paint.js";
import { held, isDrawn, limitsOf, newestOf, pathOf, rowAt, startView, visible, zoomed } from "./candle_view.js";
import { rowWords, stepWords, summary, tables } from "./candle_words.js";
import { freshId, html, mounted, redrawing, themeOf } from "./dom.js";

const HINT =
  "Left and right arrow move, plus and minus zoom, Home and End go to either end; " +
  "with Shift, the arrows read one candle after another.";
const QUIET_MS = 200; // after the last change of the view, `onRange` is called
const KEY_ZOOM = 1.3;
const KEY_SHARE = 0.15;
const WHEEL_ZOOM = 0.002; // a pixel
const LINE_PIXELS = 16; // where a wheel counts in lines

/**
 * @typedef {[number, number|null, number|null, number|null, number|null, number|null]} Row
 *   Open time (ms), open, high, low, close, volume; a row with a null price is a gap.
 * @typedef {{step: number, timestamp: string|number, predicted_close: number|null, low?: number|null, high?: number|null,
 *   confidence?: number|null, trusted?: boolean}} Step
 *   One of `predictions` as `GET /api/predictions` answers them.
 * @typedef {object} CandleData
 * @property {Row[]} rows In time order.
 * @property {number} timeframeMs
 * @property {number} [group] Candles in a row, as `GET /api/candles` answers it; 1 by default.
 * @property {Step[]} [forecast]
 * @property {{time: string|number, price: number}} [origin] What the forecast starts from: `timestamp` and `current_price` of
 *   the prediction; by default the close of the last row.
 * @property {number} [trustedSteps] Steps up to this number are trusted; by default those marked so from the first on.
 * @property {[number|string, number|string]} [limits] How far the view may go: `stored_from` and `stored_until`; never
 *   less than the rows and the forecast.
 * @property {[number, number]} [view] What to show (ms); else the view stays, or starts at the newest candles.
 * @property {string} [label] What is drawn, for the accessible summary: "BTC/USDT 1h".
 */

/**
 * Draw candles, volume and a forecast on a canvas.
 *
 * `update` keeps what it is not given, and a view that was chosen by hand: one that shows the newest candle moves on with
 * the next, one that holds nothing of the new data starts anew. `onRange` is called with the view a moment after it changed
 * by hand.
 * @param {HTMLElement} element Where it is drawn; the height is that of `.chart-candles .chart-plot`.
 * @param {CandleData & {onRange?: (fromMs: number, toMs: number) => void}} given
 * @returns {{update: (data: Partial<CandleData>) => void, view: () => [number, number], destroy: () => void}}
 */
export function candleChart(element, given) {
  const hint = html("p", { class: "chart-hidden", id: freshId("hint") }, HINT);
  const canvas = html("canvas", { role: "img", tabindex: 0, "aria-describedby": hint.id });
  const plot = html("div", { class: "chart-plot" }, canvas);
  const readout = html("div", { class: "chart-readout" });
  const aloud = html("div");
  const unmount = mounted(element, "candles", readout, plot, hint, aloud);
  const context = canvas.getContext("2d");
  const touches = new Map(); // pointers that are down, by id: their last position
  let data = { rows: [], timeframeMs: 60_000, group: 1, label: "Candles" };
  let path = { origin: null, steps: [], trustedMs: null };
  let limits = null;
  let view = null;
  let chosen = false; // whether the view is one that somebody chose
  let theme = null;
  let frame = null;
  let cross = null;
  let timer = 0;
  const drawer = redrawing(plot, draw);
  take(given);

  const rowMs = () => data.timeframeMs * data.group;

  function take(next) {
    const before = newestOf(data);
    const known = Object.fromEntries(Object.entries(next).filter(([, value]) => value !== undefined));
    data = { ...data, view: undefined, ...known };
    path = pathOf(data);
    limits = limitsOf(data, path);
    const newest = newestOf(data);
    if (data.view !== undefined) [view, chosen] = [data.view, true];
    else if (!chosen || view[1] <= limits[0] || view[0] >= limits[1]) [view, chosen] = [startView(data, path), false];
    else if (before !== null && view[1] >= before) view = view.map((ms) => ms + Math.max(0, newest - before));
    view = held(view, limits, data.timeframeMs);
    canvas.setAttribute("aria-label", summary(data.label, data.rows, path));
    aloud.replaceChildren(...tables(data.rows, path));
    drawer.ask();
  }

  function draw(themeChanged) {
    const { clientWidth: width, clientHeight: height } = plot;
    if (width === 0 || height === 0) return;
    if (themeChanged) theme = themeOf(element);
    const ratio = window.devicePixelRatio || 1;
    const [across, down] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== across || canvas.height !== down) [canvas.width, canvas.height] = [across, down];
    frame = paint(context, { width, height, ratio }, { rows: data.rows, rowMs: rowMs(), path, view }, theme);
    if (frame !== null && cross !== null) paintCross(context, frame, cross, theme);
    read();
  }

  function read() {
    const span = frame?.span ?? 0;
    const at = cross?.ms ?? Infinity;
    const step = cross === null ? undefined : stepAt(at);
    const row = cross === null ? newestSeen() : rowAt(data.rows, at, rowMs());
    const words = [
      ...(row && isDrawn(row) ? rowWords(row, data.group, span) : []), // a forecast may be older than the newest candles
      ...(step !== undefined ? stepWords(step, path.origin?.price, span) : []),
    ];
    readout.replaceChildren(...(words.length > 0 || cross === null ? words : [html("b", {}, "no candle here")]));
  }

  function newestSeen() {
    const [first, end] = visible(data.rows, view, rowMs());
    return data.rows.slice(first, end).findLast(isDrawn);
  }

  /** The step of the forecast whose candle holds a moment. */
  function stepAt(ms) {
    if (path.steps.length === 0 || ms < (path.origin?.ms ?? path.steps[0].ms - data.timeframeMs)) return undefined;
    return path.steps.reduce((best, step) => (Math.abs(step.ms - ms) < Math.abs(best.ms - ms) ? step : best));
  }

  function look(next) {
    const wanted = held(next, limits, data.timeframeMs);
    if (wanted[0] === view[0] && wanted[1] === view[1]) return false;
    [view, chosen] = [wanted, true];
    drawer.ask();
    clearTimeout(timer);
    timer = setTimeout(() => given.onRange?.(Math.floor(view[0]), Math.ceil(view[1])), QUIET_MS);
    return true;
  }

  const move = (ms) => look(view.map((at) => at + ms));
  const msPerPixel = () => (view[1] - view[0]) / (frame?.right ?? Math.max(1, plot.clientWidth));

  function point(event) {
    const { left, top } = canvas.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  }

  function wheeled(event) {
    const pixels = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? LINE_PIXELS : 1;
    const sideways = event.shiftKey ? event.deltaX || event.deltaY : event.deltaX;
    const around = view[0] + point(event)[0] * msPerPixel();
    const moved =
      Math.abs(sideways) > Math.abs(event.deltaY) || event.shiftKey
        ? move(sideways * pixels * msPerPixel())
        : look(zoomed(view, Math.exp(-event.deltaY * pixels * WHEEL_ZOOM * (event.ctrlKey ? 5 : 1)), around));
    if (moved || event.ctrlKey) event.preventDefault(); // at the end of the zoom the page scrolls on
  }

  function moved(event) {
    const [x, y] = point(event);
    const before = touches.get(event.pointerId);
    if (before === undefined) {
      hover(x, y);
      return;
    }
    const other = [...touches].find(([id]) => id !== event.pointerId)?.[1];
    touches.set(event.pointerId, [x, y]);
    if (other === undefined) {
      move((before[0] - x) * msPerPixel());
      return;
    }
    const [was, is] = [Math.abs(before[0] - other[0]), Math.abs(x - other[0])];
    if (was < 1 || is < 1) return;
    const middle = view[0] + ((before[0] + other[0]) / 2) * msPerPixel();
    const shift = ((before[0] - x) / 2) * msPerPixel();
    look(zoomed(view, is / was, middle).map((at) => at + shift * (was / is)));
  }

  function hover(x, y) {
    readout.setAttribute("aria-live", "off");
    if (frame === null || x > frame.right || y > frame.bottom) cross = null;
    else cross = { ms: frame.sx.invert(x), price: y <= frame.floor ? frame.sy.invert(y) : null };
    if (cross !== null) cross.ms = middleOf(cross.ms);
    drawer.ask();
  }

  /** Where the crosshair stands for a moment: the middle of the row, or the close of the step. */
  function middleOf(ms) {
    const row = rowAt(data.rows, ms, rowMs());
    return row === null ? (stepAt(ms)?.ms ?? ms) : row[0] + rowMs() / 2;
  }

  function pressed(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const span = view[1] - view[0];
    const centre = (view[0] + view[1]) / 2;
    const deeds = {
      ArrowLeft: () => (event.shiftKey ? walk(-1) : move(-span * KEY_SHARE)),
      ArrowRight: () => (event.shiftKey ? walk(1) : move(span * KEY_SHARE)),
      "+": () => look(zoomed(view, KEY_ZOOM, centre)),
      "=": () => look(zoomed(view, KEY_ZOOM, centre)),
      "-": () => look(zoomed(view, 1 / KEY_ZOOM, centre)),
      Home: () => move(limits[0] - span - view[0]),
      End: () => move(limits[1] + span - view[1]),
      Escape: () => uncross(),
    };
    if (deeds[event.key] === undefined) return;
    event.preventDefault();
    deeds[event.key]();
  }

  /** Move the crosshair by one row or step, and the view with it. */
  function walk(by) {
    const rows = data.rows.filter(isDrawn).map((row) => row[0] + rowMs() / 2);
    const stops = [...rows, ...path.steps.map((step) => step.ms).filter((ms) => !(ms <= rows.at(-1)))];
    if (stops.length === 0) return;
    const here = cross === null ? Math.max(0, rows.length - 1) - by : stops.findLastIndex((ms) => ms <= cross.ms);
    const ms = stops[Math.min(stops.length - 1, Math.max(0, here + by))];
    cross = { ms, price: null };
    readout.setAttribute("aria-live", "polite");
    if (ms < view[0]) move(ms - view[0] - rowMs());
    if (ms > view[1]) move(ms - view[1] + rowMs());
    drawer.ask();
  }

  function uncross() {
    cross = null;
    drawer.ask();
  }

  canvas.addEventListener("wheel", wheeled, { passive: false });
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    touches.set(event.pointerId, point(event));
    if (event.pointerType !== "mouse") hover(...point(event));
  });
  canvas.addEventListener("pointermove", moved);
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, (event) => touches.delete(event.pointerId));
  }
  canvas.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "mouse") uncross(); // a finger that was lifted leaves its reading
  });
  canvas.addEventListener("blur", uncross);
  canvas.addEventListener("keydown", pressed);
  return {
    update: take,
    view: () => [...view],
    destroy() {
      clearTimeout(timer);
      drawer.stop();
      unmount();
    },
  };
}
