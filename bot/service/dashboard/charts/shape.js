/**
 * From points to the paths of SVG: gaps, bands, and no more points than there are pixels. Pure.
 */

import { toMs } from "./scale.js";

/**
 * Return points with x as a number, in order; those without an x are left out, y that is no number is NaN.
 * @param {[number|string, ...(number|null)[]][]} points
 * @returns {number[][]}
 */
export function cleaned(points) {
  const found = [];
  let ordered = true;
  for (const [x, ...rest] of points ?? []) {
    const at = toMs(x);
    if (!Number.isFinite(at)) continue;
    if (found.length > 0 && at < found.at(-1)[0]) ordered = false;
    found.push([at, ...rest.map((y) => (Number.isFinite(y) ? y : NaN))]);
  }
  return ordered ? found : found.sort((a, b) => a[0] - b[0]);
}

/**
 * Keep the first, lowest, highest and last point of each column of pixels, in their order, and one mark a gap.
 * @param {number[][]} points x and y.
 * @param {(x: number) => number} scale From x to pixels.
 * @returns {number[][]}
 */
export function thinned(points, scale) {
  const found = [];
  let column = null;
  const flush = () => {
    if (column === null) return;
    const { first, low, high, last } = column;
    found.push(...new Set([first, low, high, last].sort((a, b) => a.at - b.at)));
    column = null;
  };
  points.forEach(([x, y], at) => {
    if (Number.isNaN(y)) {
      flush();
      if (found.length > 0 && !Number.isNaN(found.at(-1).y)) found.push({ at, x, y });
      return;
    }
    const pixel = Math.floor(scale(x));
    const here = { at, x, y };
    if (column === null || column.pixel !== pixel) {
      flush();
      column = { pixel, first: here, low: here, high: here, last: here };
      return;
    }
    if (y < column.low.y) column.low = here;
    if (y > column.high.y) column.high = here;
    column.last = here;
  });
  flush();
  return found.map(({ x, y }) => [x, y]);
}

/**
 * Keep one entry of a band a column of pixels: its lowest low and its highest high.
 * @param {number[][]} band x, low and high.
 * @param {(x: number) => number} scale
 * @returns {number[][]}
 */
export function thinnedBand(band, scale) {
  const found = [];
  let pixel = null;
  for (const [x, low, high] of band) {
    const here = Math.floor(scale(x));
    const before = found.at(-1);
    if (Number.isNaN(low) || Number.isNaN(high)) {
      if (before !== undefined && !Number.isNaN(before[1])) found.push([x, NaN, NaN]);
      pixel = null;
    } else if (here === pixel) {
      before[1] = Math.min(before[1], low);
      before[2] = Math.max(before[2], high);
    } else {
      found.push([x, low, high]);
      pixel = here;
    }
  }
  return found;
}

/**
 * Return the stretches of points without a gap.
 * @param {number[][]} points
 * @returns {number[][][]}
 */
export function stretches(points) {
  const found = [];
  let open = null;
  for (const point of points) {
    if (point.some(Number.isNaN)) {
      open = null;
    } else if (open === null) {
      found.push((open = [point]));
    } else {
      open.push(point);
    }
  }
  return found;
}

const at = (x, y) => `${x.toFixed(2)},${y.toFixed(2)}`;

/**
 * Return the `d` of a line; a point that stands alone is a dot (given round line caps).
 * @param {number[][]} points
 * @param {(x: number) => number} sx
 * @param {(y: number) => number} sy
 */
export function linePath(points, sx, sy) {
  const draw = (part) => `M${part.map(([x, y]) => at(sx(x), sy(y))).join("L")}${part.length === 1 ? "h0.01" : ""}`;
  return stretches(points).map(draw).join("");
}

/**
 * Return the `d` of a band: one polygon a stretch, along the highs and back along the lows.
 * @param {number[][]} band x, low and high.
 * @param {(x: number) => number} sx
 * @param {(y: number) => number} sy
 */
export function bandPath(band, sx, sy) {
  const draw = (part) => {
    const highs = part.map(([x, , high]) => at(sx(x), sy(high)));
    const lows = part.map(([x, low]) => at(sx(x), sy(low))).reverse();
    return `M${[...highs, ...lows].join("L")}Z`;
  };
  return stretches(band).map(draw).join("");
}

/**
 * Return the position of the point whose x is nearest, or -1 where there is none.
 * @param {number[][]} points In order of x.
 * @param {number} x
 */
export function nearest(points, x) {
  let low = 0;
  let high = points.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle][0] < x) low = middle + 1;
    else high = middle;
  }
  if (low === points.length) return points.length - 1;
  return low > 0 && x - points[low - 1][0] <= points[low][0] - x ? low - 1 : low;
}
