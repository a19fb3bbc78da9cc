/**
 * The axes of the SVG charts: rules across, values on the right, times or shares below.
 */

import { svg } from "./dom.js";
import { decimalsOf, fixedText, numberText, percentText, priceText } from "./scale.js";

export const LABEL_HEIGHT = 20; // of the row below the plot
const CHARACTER = 6.4; // pixels of a digit in the labels' font
const GAP = 6;

/**
 * Return how values are told, on the axis (by the step between ticks) and in a readout (by the height of the plot).
 * @param {"price"|"number"|"percent"|((y: number) => string)} format
 * @param {number} step
 * @param {number} span
 * @returns {{tick: (y: number) => string, value: (y: number) => string}}
 */
export function formats(format, step, span) {
  if (typeof format === "function") return { tick: format, value: format };
  if (format === "percent") {
    const decimals = decimalsOf(step * 100);
    return { tick: (y) => percentText(y, decimals), value: (y) => percentText(y, Math.max(1, decimals)) };
  }
  if (format === "price") {
    return { tick: (y) => fixedText(y, decimalsOf(step)), value: (y) => priceText(y, span) };
  }
  const digits = (y, part) => (y === 0 ? 1 : Math.max(4, Math.ceil(Math.log10(Math.abs(y) / part)) + 2)); // tell parts apart
  return {
    tick: (y) => (step < 1_000 ? fixedText(y, decimalsOf(step)) : numberText(y, digits(y, step))),
    value: (y) => numberText(y, span > 0 ? digits(y, span / 100) : 5),
  };
}

/**
 * Return the pixels that labels need beside the plot.
 * @param {string[]} labels
 */
export function labelWidth(labels) {
  return Math.ceil(Math.max(0, ...labels.map((label) => label.length)) * CHARACTER) + 2 * GAP;
}

/**
 * Return horizontal rules with their values right of the plot.
 * @param {{value: number, label: string}[]} ticks
 * @param {(y: number) => number} sy
 * @param {number} right Where the plot ends.
 */
export function valueAxis(ticks, sy, right) {
  const parts = ticks.flatMap(({ value, label }) => {
    const y = Math.round(sy(value)) + 0.5;
    return [
      svg("line", { class: "chart-grid", x1: 0, x2: right, y1: y, y2: y }),
      svg("text", { x: right + GAP, y, dy: "0.35em" }, label),
    ];
  });
  return svg("g", { class: "chart-axis chart-values", "aria-hidden": "true" }, ...parts);
}

/**
 * Return labels below the plot with a small mark each; one that would leave the drawing on the left begins at its mark.
 * @param {{value: number, label: string}[]} ticks
 * @param {(x: number) => number} sx
 * @param {number} bottom Where the plot ends.
 */
export function baseAxis(ticks, sx, bottom) {
  const parts = ticks.flatMap(({ value, label }) => {
    const x = Math.round(sx(value)) + 0.5;
    const anchor = x < (label.length * CHARACTER) / 2 ? "start" : "middle";
    return [
      svg("line", { class: "chart-grid", x1: x, x2: x, y1: bottom, y2: bottom + 4 }),
      svg("text", { x, y: bottom + 15, "text-anchor": anchor }, label),
    ];
  });
  return svg("g", { class: "chart-axis chart-base", "aria-hidden": "true" }, ...parts);
}
