/**
 * What of a series of candles is seen: the visible rows, their grouping to the width of a pixel, zoom and limits. Pure.
 *
 * A view is a pair of times in milliseconds. A row stands for the time from its open to `rowMs` later.
 */

import { extent, toMs } from "./scale.js";

const LEAST_ROWS = 8; // as far as one can zoom in
const START_ROWS = 120;
const SPARE = 0.02; // of the view's span, free beyond the limits
const OPEN = 1;
const HIGH = 2;
const LOW = 3;
const CLOSE = 4;
const VOLUME = 5;

/**
 * @typedef {{step: number, ms: number, close: number, low: number, high: number, confidence: number,
 *   trusted: boolean}} PathStep
 * @typedef {{origin: {ms: number, price: number} | null, steps: PathStep[], trustedMs: number|null}} Path
 *   `trustedMs` is the close of the last trusted step (the origin where none is); null without steps.
 */

/**
 * Return the forecast as numbers (NaN for what is not said), and where trust ends.
 * @param {import("./candles.js").CandleData} data
 * @returns {Path}
 */
export function pathOf({ rows, forecast, origin, trustedSteps, timeframeMs, group = 1 }) {
  const number = (value) => (Number.isFinite(value) ? value : NaN);
  const said = (forecast ?? [])
    .map((step) => ({
      step: step.step,
      ms: toMs(step.timestamp),
      close: number(step.predicted_close),
      low: number(step.low),
      high: number(step.high),
      confidence: number(step.confidence),
      trusted: step.trusted === true,
    }))
    .filter((step) => Number.isFinite(step.ms))
    .sort((a, b) => a.ms - b.ms);
  const last = rows.findLast((row) => Number.isFinite(row[CLOSE]));
  const from = origin ?? (last && { time: last[0] + timeframeMs * group, price: last[CLOSE] });
  const start = from && Number.isFinite(toMs(from.time)) ? { ms: toMs(from.time), price: number(from.price) } : null;
  const doubted = said.findIndex((step) => !step.trusted);
  const trusted = trustedSteps ?? (said[(doubted < 0 ? said.length : doubted) - 1]?.step ?? 0);
  const steps = said.map((step) => ({ ...step, trusted: step.step <= trusted }));
  const trustedMs = steps.length === 0 ? null : (steps.findLast((step) => step.trusted)?.ms ?? start?.ms ?? steps[0].ms);
  return { origin: start, steps, trustedMs };
}

/**
 * Return the positions [first, end) of the rows that reach into a view.
 * @param {import("./candles.js").Row[]} rows
 * @param {[number, number]} view
 * @param {number} rowMs
 * @returns {[number, number]}
 */
export function visible(rows, [from, to], rowMs) {
  return [firstFrom(rows, from - rowMs + 1), firstFrom(rows, to)];
}

function firstFrom(rows, ms) {
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows[middle][0] < ms) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * Return the row at a moment, or null: the moment lies before, after, or in a hole.
 * @param {import("./candles.js").Row[]} rows
 * @param {number} ms
 * @param {number} rowMs
 */
export function rowAt(rows, ms, rowMs) {
  const row = rows[firstFrom(rows, ms + 1) - 1];
  return row !== undefined && ms < row[0] + rowMs ? row : null;
}

/**
 * Put rows together, `size` at a time by the clock, so that groups stay the same while the view moves. Gaps are left out.
 * @param {import("./candles.js").Row[]} rows
 * @param {number} first
 * @param {number} end
 * @param {number} size
 * @param {number} rowMs
 * @returns {import("./candles.js").Row[]}
 */
export function grouped(rows, first, end, size, rowMs) {
  const found = [];
  const span = size * rowMs;
  let open = null;
  for (let i = first; i < end; i += 1) {
    const row = rows[i];
    if (!isDrawn(row)) continue;
    const start = Math.floor(row[0] / span) * span;
    if (open !== null && open[0] === start) {
      if (row[HIGH] > open[HIGH]) open[HIGH] = row[HIGH];
      if (row[LOW] < open[LOW]) open[LOW] = row[LOW];
      open[CLOSE] = row[CLOSE];
      if (Number.isFinite(row[VOLUME])) open[VOLUME] = (open[VOLUME] ?? 0) + row[VOLUME];
    } else {
      open = size === 1 ? row : [start, row[OPEN], row[HIGH], row[LOW], row[CLOSE], row[VOLUME]];
      found.push(open);
    }
  }
  return found;
}

/**
 * Return whether a row has all four prices.
 * @param {import("./candles.js").Row} row
 */
export function isDrawn(row) {
  return Number.isFinite(row[OPEN]) && Number.isFinite(row[HIGH]) && Number.isFinite(row[LOW]) && Number.isFinite(row[CLOSE]);
}

/**
 * Return how far a view may go: the limits given, the rows and the forecast.
 * @param {import("./candles.js").CandleData} data
 * @param {Path} path
 * @returns {[number, number]}
 */
export function limitsOf(data, path) {
  const times = [
    ...(data.limits ?? []).map(toMs),
    data.rows[0]?.[0],
    newestOf(data),
    ...(path.steps.length > 0 ? [path.origin?.ms, path.steps[0].ms, path.steps.at(-1).ms] : []),
  ];
  return extent(times) ?? [0, data.timeframeMs];
}

/**
 * Return when the newest candle closes, or null where there is none.
 *
 * The last row may stand for fewer candles than the others, so that limits that are given know it better.
 * @param {import("./candles.js").CandleData} data
 */
export function newestOf({ rows, limits, timeframeMs, group = 1 }) {
  const end = toMs(limits?.[1]);
  const last = rows.at(-1)?.[0];
  if (last === undefined) return Number.isFinite(end) ? end : null;
  return Number.isFinite(end) ? Math.max(end, last + timeframeMs) : last + timeframeMs * group;
}

/**
 * Return the view one begins with: the newest rows and the whole forecast, with more rows than steps.
 * @param {import("./candles.js").CandleData} data
 * @param {Path} path
 * @returns {[number, number]}
 */
export function startView(data, path) {
  const [first, end] = limitsOf(data, path);
  const { timeframeMs, group = 1 } = data;
  const now = newestOf(data) ?? end;
  const back = Math.max(START_ROWS * timeframeMs * group, 1.2 * Math.max(0, end - now));
  return held([now - back, end + (end - now + back) * SPARE], [first, end], timeframeMs);
}

/**
 * Return a view within limits (with a little free on both sides), no closer than a few candles.
 * @param {[number, number]} view
 * @param {[number, number]} limits
 * @param {number} timeframeMs
 * @returns {[number, number]}
 */
export function held([from, to], [first, end], timeframeMs) {
  const least = LEAST_ROWS * timeframeMs;
  const most = Math.max((end - first) * (1 + 2 * SPARE), least);
  const span = Math.min(Math.max(to - from, least), most);
  const [left, right] = [first - span * SPARE, end + span * SPARE - span];
  const wanted = from + (to - from - span) / 2; // a view that was too wide or too close keeps its centre
  const start = left > right ? (left + right) / 2 : Math.min(right, Math.max(left, wanted));
  return [start, start + span];
}

/**
 * Return a view zoomed by a factor (above 1: closer) around a moment that stays where it is.
 * @param {[number, number]} view
 * @param {number} factor
 * @param {number} around
 * @returns {[number, number]}
 */
export function zoomed([from, to], factor, around) {
  return [around - (around - from) / factor, around + (to - around) / factor];
}
