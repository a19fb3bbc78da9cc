/**
 * Scales, ticks and the text of numbers and times. Pure: nothing here touches the page.
 *
 * Times are milliseconds UTC. What is not a finite number is told as a dash and never drawn.
 */

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

const SECOND = 1_000;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const CLOCK_STEPS = [
  ...[1, 5, 15, 30].map((n) => n * SECOND),
  ...[1, 2, 5, 10, 15, 30].map((n) => n * MINUTE),
  ...[1, 2, 3, 6, 12].map((n) => n * HOUR),
  ...[1, 2, 4, 7, 14].map((n) => n * DAY),
];
const MONTH_STEPS = [1, 2, 3, 6, 12, 24, 60, 120];
const MONTH = (365.2425 / 12) * DAY;
const FIRST_MONDAY = 4 * DAY; // 1970-01-05: steps of weeks begin on Mondays
const CLOSE = 0.8; // a step that gives a few more ticks than asked for is better than one that gives half
const MOST_DECIMALS = 14;
const ABSENT = "–";
let percentSign = "%";

/**
 * Return a linear scale: a function from the domain to the range.
 * @param {[number, number]} domain Two values; where they are equal, everything falls on the middle of the range.
 * @param {[number, number]} range Two positions, in either order.
 * @returns {((value: number) => number) & {invert: (at: number) => number, domain: number[], range: number[]}}
 */
export function linearScale(domain, range) {
  const [d0, d1] = domain;
  const [r0, r1] = range;
  const span = d1 - d0;
  const scale = (value) => (span === 0 ? (r0 + r1) / 2 : r0 + ((value - d0) / span) * (r1 - r0));
  scale.invert = (at) => (r1 === r0 ? (d0 + d1) / 2 : d0 + ((at - r0) / (r1 - r0)) * span);
  scale.domain = [d0, d1];
  scale.range = [r0, r1];
  return scale;
}

/**
 * Return the smallest and largest finite number of `values`, or null where there is none.
 * @param {Iterable<number|null|undefined>} values
 * @returns {[number, number] | null}
 */
export function extent(values) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low <= high ? [low, high] : null;
}

/**
 * Widen an extent by a share of its span on both sides; a flat one by a share of its value, so that it has a height.
 * @param {[number, number] | null} range Null becomes 0 to 1.
 * @param {number} [share]
 * @returns {[number, number]}
 */
export function padded(range, share = 0.06) {
  if (range === null) return [0, 1];
  const [low, high] = range;
  const span = high - low;
  const size = Math.max(Math.abs(low), Math.abs(high));
  if (span <= size * 1e-12) {
    const pad = size === 0 ? 1 : size * 0.01;
    return [low - pad, high + pad];
  }
  return [low - span * share, high + span * share];
}

/**
 * Return about `count` round values between `low` and `high` (steps of 1, 2, 2.5 or 5 times a power of ten).
 * @param {number} low
 * @param {number} high
 * @param {number} [count]
 * @returns {{step: number, ticks: number[]}}
 */
export function niceTicks(low, high, count = 5) {
  const span = high - low;
  if (!Number.isFinite(span) || span <= 0) return { step: 1, ticks: Number.isFinite(low) ? [low] : [] };
  const raw = span / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].find((nice) => nice * power >= raw * (1 - 1e-9)) * power;
  const places = decimalsOf(step);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i += 1) {
    ticks.push(Number((i * step).toFixed(Math.min(100, places)))); // 3 * 0.1 is told as 0.3
  }
  return { step, ticks };
}

/**
 * Return about `count` moments of the UTC calendar between two times, with labels: dates where a day begins, else the clock.
 * @param {number} from
 * @param {number} to
 * @param {number} [count]
 * @returns {{step: number, ticks: {ms: number, label: string}[]}}
 */
export function timeTicks(from, to, count = 6) {
  const span = to - from;
  if (!Number.isFinite(span) || span <= 0) {
    return { step: DAY, ticks: Number.isFinite(from) ? [{ ms: from, label: tickLabel(from, MINUTE) }] : [] };
  }
  const raw = span / Math.max(1, count);
  const clock = CLOCK_STEPS.find((step) => step >= raw * CLOSE);
  if (clock !== undefined) {
    const shift = clock >= 7 * DAY ? FIRST_MONDAY : 0;
    const ticks = [];
    for (let ms = Math.ceil((from - shift) / clock) * clock + shift; ms <= to; ms += clock) {
      ticks.push({ ms, label: tickLabel(ms, clock) });
    }
    return { step: clock, ticks };
  }
  const months = MONTH_STEPS.find((n) => n * MONTH >= raw * CLOSE) ?? Math.ceil(raw / MONTH / 120) * 120;
  const ticks = [];
  const start = new Date(from);
  const first = Math.floor((start.getUTCFullYear() * 12 + start.getUTCMonth()) / months) * months;
  for (let at = first; ; at += months) {
    const ms = Date.UTC(Math.floor(at / 12), at % 12, 1);
    if (ms > to) break;
    if (ms >= from) ticks.push({ ms, label: tickLabel(ms, months * MONTH) });
  }
  return { step: months * MONTH, ticks };
}

function tickLabel(ms, step) {
  const date = new Date(ms);
  if (step > 15 * DAY) {
    return date.getUTCMonth() === 0 ? String(date.getUTCFullYear()) : MONTHS[date.getUTCMonth()];
  }
  if (step >= DAY || ms % DAY === 0) return `${date.getUTCDate()} ${MONTHS[date.getUTCMonth()]}`;
  return date.toISOString().slice(11, step < MINUTE ? 19 : 16);
}

/**
 * Return a moment as text, `2024-01-15 08:00` (with seconds where it has any), with ` UTC` unless `zone` is false.
 * @param {number|string|Date|null} moment
 * @param {{zone?: boolean}} [options]
 */
export function timeText(moment, { zone = true } = {}) {
  const ms = toMs(moment);
  if (!Number.isFinite(ms) || Math.abs(ms) > 8.64e15) return ABSENT;
  const text = new Date(ms).toISOString();
  return text.slice(0, 10) + " " + text.slice(11, ms % MINUTE === 0 ? 16 : 19) + (zone ? " UTC" : "");
}

/**
 * Return milliseconds UTC of a number (taken as it is), an ISO 8601 text or a Date; NaN for anything else.
 * @param {unknown} moment
 * @returns {number}
 */
export function toMs(moment) {
  if (typeof moment === "number") return moment;
  if (moment instanceof Date) return moment.getTime();
  return typeof moment === "string" ? Date.parse(moment) : NaN;
}

/**
 * Return the decimals that tell multiples of `step` apart.
 * @param {number} step
 */
export function decimalsOf(step) {
  if (!Number.isFinite(step) || step <= 0) return 2;
  const exponent = Math.floor(Math.log10(step));
  const lead = Math.round((step / 10 ** exponent) * 10) / 10; // 1, 2, 2.5 or 5
  return Math.min(MOST_DECIMALS, Math.max(0, -exponent + (Number.isInteger(lead) ? 0 : 1)));
}

/**
 * Return a number with so many decimals, thousands set apart by commas and a true minus sign.
 * @param {number|null|undefined} value
 * @param {number} decimals
 */
export function fixedText(value, decimals) {
  if (!Number.isFinite(value)) return ABSENT;
  const [whole, rest] = Math.abs(value).toFixed(decimals).split(".");
  const text = whole.replace(/\B(?=(\d{3})+$)/g, ",") + (rest === undefined ? "" : `.${rest}`);
  return value < 0 && /[1-9]/.test(text) ? `−${text}` : text;
}

/**
 * Return a price: as many decimals as tell a thousandth of `span` apart (of the price itself where there is no span).
 * @param {number|null|undefined} value
 * @param {number} [span] What the reader compares: the height of the chart, in prices.
 */
export function priceText(value, span) {
  if (!Number.isFinite(value)) return ABSENT;
  const scale = span > 0 ? span : Math.abs(value);
  const decimals = scale === 0 ? 2 : Math.ceil(-Math.log10(scale) - 1e-9) + 3;
  return fixedText(value, Math.min(MOST_DECIMALS, Math.max(0, decimals)));
}

/**
 * Return a number with four significant digits, large ones as 1.234k, 1.234M, 1.234B or 1.234T.
 * @param {number|null|undefined} value
 * @param {number} [digits]
 */
export function numberText(value, digits = 4) {
  if (!Number.isFinite(value)) return ABSENT;
  const size = Math.abs(value);
  const rounded = size === 0 ? 0 : Number(size.toPrecision(digits));
  const thousands = rounded < 10_000 ? 0 : Math.min(4, Math.floor(Math.log10(rounded) / 3 + 1e-12));
  const short = rounded / 1000 ** thousands;
  const decimals = short === 0 ? 0 : Math.max(0, digits - 1 - Math.floor(Math.log10(short) + 1e-12));
  const text = fixedText(Math.sign(value) * short, Math.min(MOST_DECIMALS, decimals));
  return text.replace(/\.?0+$/, (zeros) => (text.includes(".") ? "" : zeros)) + ["", "k", "M", "B", "T"][thousands];
}

/**
 * Write percentages with another sign, such as one after a space, as the text around the charts does.
 * @param {string} text
 */
export function writePercentSign(text) {
  percentSign = text;
}

/**
 * Return a share as percent: 0.534 is 53.4%.
 * @param {number|null|undefined} value
 * @param {number} [decimals]
 */
export function percentText(value, decimals = 1) {
  return Number.isFinite(value) ? `${fixedText(value * 100, decimals)}${percentSign}` : ABSENT;
}
