/**
 * The painting of candles, volume and forecast on a canvas. All that is known of the page comes in as arguments.
 */

import { extent, decimalsOf, fixedText, linearScale, niceTicks, padded, priceText, timeTicks } from "./scale.js";
import { grouped, visible } from "./candle_view.js";
import { paintBand, paintPath } from "./forecast_paint.js";

const TOP = 18; // room for the words of the trust mark
const BASE = 20; // the row of times
const VOLUME_SHARE = 0.16;
const LEAST_SLOT = 4; // pixels of a candle; where there is less, neighbours become one
const NARROW = 8; // pixels of a candle that needs most of its room
const HOLLOW_FROM = 5; // pixels of a body from which a rising one is drawn hollow, so that colour is not all that tells

/**
 * Paint a view and return its geometry, or null where nothing is in it.
 * @param {CanvasRenderingContext2D} context
 * @param {{width: number, height: number, ratio: number}} size CSS pixels, and device pixels in one.
 * @param {object} seen `rows`, `rowMs`, `path` and `view`.
 * @param {Record<string, string>} theme Colours and the font.
 * @returns {object | null} `sx`, `sy`, `right`, `bottom`, `span` (prices from bottom to top), `slotMs`.
 */
export function paint(context, size, seen, theme) {
  const { width, height, ratio } = size;
  const { rows, rowMs, path, view } = seen;
  const snap = (at) => Math.round(at * ratio) / ratio;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = `11px ${theme.font}`;
  context.textBaseline = "middle";

  const perRow = (width * rowMs) / (view[1] - view[0]);
  const together = perRow >= LEAST_SLOT ? 1 : 2 ** Math.ceil(Math.log2(LEAST_SLOT / perRow));
  const slotMs = together * rowMs;
  const whole = [Math.floor(view[0] / slotMs) * slotMs, Math.ceil(view[1] / slotMs) * slotMs];
  const drawn = grouped(rows, ...visible(rows, together === 1 ? view : whole, rowMs), together, rowMs);
  const steps = path.steps.filter((step) => step.ms >= view[0] && step.ms <= view[1]);
  const range = extent([
    ...drawn.map((row) => row[2]),
    ...drawn.map((row) => row[3]),
    ...steps.flatMap((step) => [step.low, step.high, step.close]),
  ]);
  if (range === null) {
    context.fillStyle = theme.muted;
    context.textAlign = "center";
    context.fillText(rows.length > 0 ? "No candles in this range." : "No candles yet.", width / 2, height / 2);
    return null;
  }

  const most = extent(drawn.map((row) => row[5]))?.[1] ?? 0;
  const bottom = height - BASE;
  const floor = most > 0 ? bottom - (bottom - TOP) * VOLUME_SHARE : bottom; // prices end where the volume begins
  const domain = padded(range, 0.05);
  const span = domain[1] - domain[0];
  const { step, ticks } = niceTicks(...domain, Math.max(2, Math.round((floor - TOP) / 48)));
  const last = rows.findLast((row) => Number.isFinite(row[4]))?.[4];
  const labels = ticks.map((value) => fixedText(value, decimalsOf(step)));
  const widest = [...labels, priceText(last ?? domain[1], span)].map((label) => context.measureText(label).width);
  const right = Math.floor(width - Math.max(...widest) - 12);
  const sx = linearScale(view, [0, right]);
  const sy = linearScale(domain, [floor, TOP]);
  const frame = { sx, sy, right, bottom, floor, span, slotMs, snap, ratio, view };

  clipped(context, right, bottom, () => paintBand(context, frame, path, theme));
  paintAxes(context, frame, ticks.map((value, at) => ({ value, label: labels[at] })), theme);
  clipped(context, right, bottom, () => {
    if (most > 0) paintVolume(context, frame, drawn, most, theme);
    paintCandles(context, frame, drawn, theme);
    paintPath(context, frame, path, theme);
  });
  if (last !== undefined && rows.at(-1)[0] < view[1] && sy(last) >= TOP && sy(last) <= floor) {
    tag(context, frame, last, theme.muted, theme.panel);
  }
  return frame;
}

function clipped(context, right, bottom, draw) {
  context.save();
  context.beginPath();
  context.rect(0, 0, right, bottom);
  context.clip();
  draw();
  context.restore();
}

function paintAxes(context, { sx, sy, right, bottom, snap, view }, prices, theme) {
  const half = 0.5;
  context.strokeStyle = theme.line;
  context.fillStyle = theme.muted;
  context.lineWidth = 1;
  context.textAlign = "left";
  context.beginPath();
  for (const { value, label } of prices) {
    const y = snap(sy(value)) + half;
    context.moveTo(0, y);
    context.lineTo(right, y);
    context.fillText(label, right + 6, y);
  }
  context.moveTo(0, bottom + half);
  context.lineTo(right, bottom + half);
  context.textAlign = "center";
  for (const { ms, label } of timeTicks(...view, Math.min(10, Math.max(2, Math.floor(right / 72)))).ticks) {
    const x = snap(sx(ms)) + half;
    if (x < context.measureText(label).width / 2) continue;
    context.moveTo(x, bottom);
    context.lineTo(x, bottom + 4);
    context.fillText(label, x, bottom + 13);
  }
  context.stroke();
}

/** Left edge and width of a row's body in whole device pixels, as much on either side of its wick of one pixel. */
function bodyOf({ sx, slotMs, snap, ratio }, open) {
  const left = sx(open);
  const slot = sx(open + slotMs) - left;
  const side = Math.floor(((slot * (slot < NARROW ? 0.8 : 0.7) - 1) / 2) * ratio) / ratio;
  const width = 1 + 2 * Math.max(0, side);
  return [snap(left + (slot - width) / 2), width];
}

function paintCandles(context, frame, drawn, theme) {
  const { sy, snap } = frame;
  for (const rising of [true, false]) {
    const colour = rising ? theme.up : theme.down;
    const hollow = [];
    context.fillStyle = colour;
    context.beginPath();
    for (const [ms, open, high, low, close] of drawn) {
      if (close >= open !== rising) continue;
      const [left, width] = bodyOf(frame, ms);
      const top = snap(sy(Math.max(open, close)));
      const height = Math.max(1, snap(sy(Math.min(open, close))) - top);
      const wick = snap(sy(high));
      context.rect(left + (width - 1) / 2, wick, 1, Math.max(1, snap(sy(low)) - wick));
      context.rect(left, top, width, height);
      if (rising && width >= HOLLOW_FROM && height > 2) hollow.push([left + 1, top + 1, width - 2, height - 2]);
    }
    context.fill();
    context.fillStyle = theme.panel;
    for (const box of hollow) context.fillRect(...box);
  }
}

function paintVolume(context, frame, drawn, most, theme) {
  const { bottom, floor, snap } = frame;
  const height = linearScale([0, most], [0, bottom - floor - 4]);
  context.globalAlpha = 0.45;
  for (const rising of [true, false]) {
    context.fillStyle = rising ? theme.up : theme.down;
    context.beginPath();
    for (const [ms, open, , , close, volume] of drawn) {
      if (close >= open !== rising || !(volume > 0)) continue;
      const [left, width] = bodyOf(frame, ms);
      const top = snap(bottom - Math.max(1, height(volume)));
      context.rect(left, top, width, bottom - top);
    }
    context.fill();
  }
  context.globalAlpha = 1;
}

/** A price on the axis, in a box. */
function tag(context, { sy, right, span }, price, fill, ink) {
  const text = priceText(price, span);
  const y = Math.round(sy(price));
  context.fillStyle = fill;
  context.fillRect(right + 1, y - 8, context.measureText(text).width + 10, 16);
  context.fillStyle = ink;
  context.textAlign = "left";
  context.fillText(text, right + 6, y + 0.5);
}

/**
 * Paint the crosshair over a painted view.
 * @param {CanvasRenderingContext2D} context
 * @param {object} frame What `paint` returned.
 * @param {{ms: number, price: number|null}} cross
 * @param {Record<string, string>} theme
 */
export function paintCross(context, frame, { ms, price }, theme) {
  const { sx, sy, right, bottom, floor, snap } = frame;
  const x = snap(sx(ms)) + 0.5;
  const level = price !== null && sy(price) <= floor && sy(price) >= 0;
  context.strokeStyle = theme.muted;
  context.lineWidth = 1;
  context.setLineDash([3, 3]);
  context.beginPath();
  if (x >= 0 && x <= right) {
    context.moveTo(x, 0);
    context.lineTo(x, bottom);
  }
  if (level) {
    const y = snap(sy(price)) + 0.5;
    context.moveTo(0, y);
    context.lineTo(right, y);
  }
  context.stroke();
  context.setLineDash([]);
  if (level) tag(context, frame, price, theme.ink, theme.panel);
}
