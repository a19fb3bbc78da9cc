/** Numbers, times and codes in words. What is not known is a dash, never a zero. */

import { h } from "./dom.js";

export const NONE = "–";

/** How a state of the drift test is shown. */
export const DRIFT = { calm: "good", warning: "watch", alarm: "bad" };

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

/** 12,345 */
export function count(value) {
  return Number.isFinite(value) ? whole.format(value) : NONE;
}

/** 70.6 % of 0.706 */
export function percent(share, digits = 1) {
  return Number.isFinite(share) ? `${(100 * share).toFixed(digits).replace("-", "−")} %` : NONE;
}

/** +3.1 % or −3.1 % */
export function signed(share, digits = 1) {
  if (!Number.isFinite(share)) return NONE;
  const text = (100 * Math.abs(share)).toFixed(digits);
  return `${Number(text) === 0 ? "" : share > 0 ? "+" : "−"}${text} %`;
}

/** 68.6 to 72.6 % */
export function interval(low, high, digits = 1) {
  if (!Number.isFinite(low) || !Number.isFinite(high)) return NONE;
  return `${(100 * low).toFixed(digits)} to ${(100 * high).toFixed(digits)} %`;
}

/** A price with the digits that it needs: 42,165.00, 0.00001234 */
export function price(value) {
  if (!Number.isFinite(value)) return NONE;
  const size = Math.abs(value);
  const digits = size >= 100 || size === 0 ? 2 : Math.min(12, Math.max(2, 4 - Math.floor(Math.log10(size))));
  return value.toLocaleString("en-US", { minimumFractionDigits: Math.min(digits, 2), maximumFractionDigits: digits });
}

/** A plain number with few digits. */
export function number(value, digits = 2) {
  if (!Number.isFinite(value)) return NONE;
  return value.toLocaleString("en-US", { maximumFractionDigits: digits }).replace("-", "−");
}

/** 2026-11-20 09:00 of an ISO time; seconds where they matter. */
export function moment(iso, seconds = false) {
  if (!iso) return NONE;
  return iso.replace("T", " ").slice(0, seconds ? 19 : 16);
}

/** 45 s, 12 min, 5 h, 3 d */
export function age(seconds) {
  if (!Number.isFinite(seconds)) return NONE;
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 96 * 3600) return `${Math.round(seconds / 3600)} h`;
  return `${count(seconds / 86400)} d`;
}

/** An age that goes on growing: an element that `renewAges` writes anew. */
export function since(seconds) {
  if (!Number.isFinite(seconds)) return NONE;
  return h("span", { "data-since": Date.now() - 1000 * seconds }, age(seconds));
}

/** Write every age that is shown anew. */
export function renewAges() {
  for (const each of document.querySelectorAll("[data-since]")) {
    const words = age((Date.now() - Number(each.dataset.since)) / 1000);
    if (each.textContent !== words) each.textContent = words;
  }
}

/** What the server wrote, as this page writes: a dash for what is not known, a space before the sign of a percentage. */
export function tidy(text) {
  return (text ?? "").replace(/\bundefined \(undefined to undefined\)/g, NONE).replace(/\bundefined\b/g, NONE).replace(/(\d)%/g, "$1 %");
}

/** Milliseconds of a timeframe such as 15m. */
export function timeframeMs(timeframe) {
  const units = { m: 60e3, h: 3600e3, d: 86400e3, w: 604800e3 };
  return Number.parseInt(timeframe, 10) * (units[timeframe.at(-1)] ?? NaN);
}

/** What is said of candles that were made, not traded; null of others. */
export function plantedWords(origin) {
  const edge = /planted edge ([0-9.e-]+)/.exec(origin ?? "");
  if (!edge) return null;
  if (Number(edge[1]) === 0) return "These candles are the built-in market without an edge: whatever is shown or earned here is luck.";
  return `These candles are the built-in market with a planted edge of ${edge[1]}: skill and profit were put there to be found.`;
}

const STATUS = {
  ok: "A prediction is there.",
  warming: "There are too few candles before this one for what the model looks at. More candles end this.",
  no_model: "No model is promoted for this series: none beat every baseline, or none was trained.",
  expired: "The model is older than it may be. It says nothing until it is trained anew.",
  out_of_distribution: "The market is unlike anything the model was trained on. It says nothing about such candles.",
  error: "The model could not answer. The server's log says why.",
};

/** Why there is no prediction. */
export function statusWords(status) {
  return STATUS[status] ?? `The model's answer was ${status}.`;
}

/** What a probability is worth, in words. */
export function sureness(confidence) {
  if (!Number.isFinite(confidence)) return "no stated probability";
  if (confidence < 0.515) return "hardly more than a coin";
  if (confidence < 0.55) return "slightly more likely than not";
  if (confidence < 0.65) return "more likely than not";
  return "clearly more likely than not";
}

/** The name of a figure or a baseline: last_sign becomes last sign. */
export function plainName(name) {
  const known = { majority: "always the majority", last_sign: "last-sign rule", base_rate: "base rate" };
  return known[name] ?? name.replaceAll("_", " ");
}
