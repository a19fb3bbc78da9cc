/**
 * The candle chart in words: the readout under the crosshair, the summary, and the tables that are read aloud.
 */

import { hiddenTable, html } from "./dom.js";
import { numberText, percentText, priceText, timeText } from "./scale.js";
import { isDrawn } from "./candle_view.js";

const LAST_ROWS = 5;
const FIRST_STEPS = 5;

const named = (name, value) => html("span", {}, html("b", {}, name), ` ${value}`);
const signed = (share) => (Number.isFinite(share) && share > 0 ? "+" : "") + percentText(share, 2);

/**
 * Return the readout of a row.
 * @param {import("./candles.js").Row} row
 * @param {number} count Candles that the row stands for.
 * @param {number} span Prices from the bottom of the chart to its top.
 * @returns {HTMLElement[]}
 */
export function rowWords(row, count, span) {
  const [ms, open, high, low, close, volume] = row;
  return [
    html("b", {}, timeText(ms) + (count > 1 ? `, up to ${count} candles` : "")),
    named("O", priceText(open, span)),
    named("H", priceText(high, span)),
    named("L", priceText(low, span)),
    named("C", priceText(close, span)),
    named("", signed(close / open - 1)),
    ...(Number.isFinite(volume) ? [named("V", numberText(volume))] : []),
  ];
}

/**
 * Return the readout of a step of the forecast.
 * @param {import("./candle_view.js").PathStep} step
 * @param {number|undefined} price What it starts from.
 * @param {number} span
 * @returns {HTMLElement[]}
 */
export function stepWords(step, price, span) {
  return [
    html("b", {}, `${timeText(step.ms)}, step ${step.step}`),
    named("forecast", `${priceText(step.close, span)} (${signed(step.close / price - 1)})`),
    named(`${percentText(0.9, 0)} band`, `${priceText(step.low, span)} to ${priceText(step.high, span)}`),
    named("right with", percentText(step.confidence)),
    html("span", {}, step.trusted ? "trusted" : "not trusted"),
  ];
}

/**
 * Return what is drawn in one or two sentences.
 * @param {string} label
 * @param {import("./candles.js").Row[]} rows
 * @param {import("./candle_view.js").Path} path
 */
export function summary(label, rows, { steps, origin }) {
  const drawn = rows.filter(isDrawn);
  if (drawn.length === 0 && steps.length === 0) return `${label}: no candles.`;
  const parts = [];
  if (drawn.length > 0) {
    const last = drawn.at(-1);
    parts.push(`${label}: candles from ${timeText(drawn[0][0])} to ${timeText(last[0])}, last close ${priceText(last[4])}.`);
  }
  if (steps.length > 0) {
    const end = steps.at(-1);
    const trusted = steps.filter((step) => step.trusted).length;
    const price = origin?.price;
    const change = Number.isFinite(end.close / price) ? `, ${signed(end.close / price - 1)}` : "";
    parts.push(
      `Forecast until ${timeText(end.ms)}: ${priceText(end.close)}${change}, ` +
        `${percentText(0.9, 0)} band ${priceText(end.low)} to ${priceText(end.high)}; ${trusted} of ${steps.length} steps are trusted.`,
    );
  }
  return parts.join(" ");
}

/**
 * Return tables of the last candles and the first steps, to be read aloud.
 * @param {import("./candles.js").Row[]} rows
 * @param {import("./candle_view.js").Path} path
 * @returns {HTMLElement[]}
 */
export function tables(rows, { steps }) {
  const candles = rows.filter(isDrawn).slice(-LAST_ROWS).map(([ms, open, high, low, close, volume]) => [
    timeText(ms), priceText(open), priceText(high), priceText(low), priceText(close), numberText(volume),
  ]);
  const ahead = steps.slice(0, FIRST_STEPS).map((step) => [
    String(step.step), timeText(step.ms), priceText(step.close), priceText(step.low), priceText(step.high),
    percentText(step.confidence), step.trusted ? "yes" : "no",
  ]);
  const found = [hiddenTable("Last candles", ["opened", "open", "high", "low", "close", "volume"], candles)];
  if (ahead.length > 0) {
    const head = ["step", "closes", "forecast", "band from", "band to", "confidence", "trusted"];
    found.push(hiddenTable("First steps of the forecast", head, ahead));
  }
  return found;
}
