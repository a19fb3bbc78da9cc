/** Runs: backtests side by side, each beside buying and holding. */

import { ask } from "./api.js";
import { lineChart } from "../charts/lines.js";
import { announce, fill, h } from "./dom.js";
import { beside, chip, empty, load, panel, table } from "./parts.js";
import { NONE, count, interval, moment, number, percent, plantedWords, signed } from "./words.js";

const MOST = 4;
const STYLES = ["accent", "up", "warn", "down"];

/** Show the part. */
export async function show(root, view) {
  await load(root, view.signal, () => ask("/api/runs", { query: { limit: 200 }, signal: view.signal }), (runs) => {
    if (!runs.length) {
      return [h("h1", null, "Runs"), empty("No backtest yet", "A backtest is judged on candles that no model had seen, after costs, beside buying and holding.", "bot backtest configs/ml_basic_synth.yaml")];
    }
    return beginning(view, runs);
  });
}

function beginning(view, runs) {
  const good = new Set(runs.filter((run) => !run.problem).map((run) => run.run_id));
  const named = view.choices.getAll("run").flatMap((each) => each.split(",")).filter((id) => good.has(id));
  const chosen = new Set(named.length ? named.slice(0, MOST) : [...good].slice(0, 2));
  const side = h("div.stack");
  const list = h("div");
  let drawn = new AbortController();
  view.signal.addEventListener("abort", () => drawn.abort());

  function draw() {
    fill(list, table("Runs", [{ label: "compare" }, "run", { label: "out of sample", class: "nowrap" }, { label: "return", num: true }, { label: "deepest fall", num: true }, { label: "trades", num: true }],
      runs.map((run) => row(run, chosen, change)), { rowClass: (at) => (chosen.has(runs[at].run_id) ? "chosen" : null), stacks: true }));
  }

  function change(id, on) {
    if (on) chosen.add(id);
    else chosen.delete(id);
    view.remember({ run: [...chosen].join(",") });
    draw();
    list.querySelector(`input[value="${CSS.escape(id)}"]`)?.focus();
    announce(`${chosen.size} of ${MOST} runs chosen`);
    compare();
  }

  function compare() {
    drawn.abort();
    drawn = new AbortController();
    const { signal } = drawn;
    if (!chosen.size) {
      fill(side, h("p.muted", null, "Choose up to four runs to see them side by side."));
      return;
    }
    load(side, signal, () => Promise.all([...chosen].map((id) => ask(`/api/runs/${encodeURIComponent(id)}`, { signal }))), (found) => [columns(found), curves(found, signal)]);
  }

  draw();
  compare();
  return [h("div.bar", null, h("h1", null, "Runs"), h("span.muted", null, `choose up to ${MOST} to compare`)), side, panel("All runs", `${count(runs.length)}, newest first`, list)];
}

function row(run, chosen, change) {
  const figures = run.figures ?? {};
  const on = chosen.has(run.run_id);
  const box = h("input", { type: "checkbox", value: run.run_id, checked: on, disabled: Boolean(run.problem) || (!on && chosen.size >= MOST),
    "aria-label": `Compare ${run.run_id}`, onChange: (event) => change(run.run_id, event.target.checked) });
  box.checked = on;
  if (run.problem) return [box, beside(run.run_id, run.problem), chip("damaged", "bad"), NONE, NONE, NONE];
  return [box, beside(`${run.name} ${run.symbol} ${run.timeframe}`, `${run.strategy} · written ${moment(run.created_at)}`),
    beside(`${count(figures.bars)} candles`, run.in_sample_bars ? `${count(run.in_sample_bars)} more were in the training data` : `${moment(run.first).slice(0, 10)} to ${moment(run.last).slice(0, 10)}`),
    beside(signed(figures.total_return), `buy and hold ${signed(figures.buy_and_hold_return)}`),
    beside(percent(figures.max_drawdown), `buy and hold ${percent(figures.buy_and_hold_max_drawdown)}`),
    count(figures.trades)];
}

const FIGURES = [
  ["return after costs", (f) => beside(signed(f.total_return), `buy and hold ${signed(f.buy_and_hold_return)}`)],
  ["deepest fall", (f) => beside(percent(f.max_drawdown), `buy and hold ${percent(f.buy_and_hold_max_drawdown)}`)],
  ["Sharpe, Sortino (a year)", (f, run) => beside(`${number(f.sharpe)}, ${number(f.sortino)}`, days(run) < 365 ? `of ${count(days(run))} days only` : null)],
  ["trades, won", (f) => beside(`${count(f.trades)}, ${percent(f.win_rate)}`, f.trades < 30 ? "too few to judge" : null)],
  ["profit factor", (f) => number(f.profit_factor)],
  ["in the market", (f) => percent(f.exposure)],
  ["fees paid", (f, run) => beside(number(f.fees_paid), `of ${number(run.initial_cash)} at the start`)],
  ["direction right", (f) => beside(Number.isFinite(f.direction_accuracy) ? `${percent(f.direction_accuracy)} (${interval(f.direction_accuracy_low, f.direction_accuracy_high)})` : NONE, `n = ${count(f.n)}; majority ${percent(f.majority_baseline)}, last sign ${percent(f.last_sign_baseline)}`)],
  ["earned per bet", (f) => beside(basis(f.gross_return_per_bet), Number.isFinite(f.gross_return_per_bet_low) ? `before costs, ${basis(f.gross_return_per_bet_low)} to ${basis(f.gross_return_per_bet_high)}` : null)],
  ["calibration error", (f) => beside(percent(f.calibration_error), `at most ${percent(f.calibration_error_upper)}`)],
];

function columns(found) {
  return panel("Side by side", "out of sample, after costs, beside buying and holding",
    table("Runs side by side", ["", ...found.map((run, i) => ({ label: h("span", null, found.length > 1 ? `${i + 1}. ${run.name}` : run.name, h("span.beside", null, `${run.symbol} ${run.timeframe}`, h("br"), moment(run.created_at))) }))],
      [
        ["out of sample", ...found.map((run) => beside(`${count(run.figures.bars)} candles`, `${moment(run.first).slice(0, 10)} to ${moment(run.last).slice(0, 10)}`))],
        ...FIGURES.map(([name, cell]) => [name, ...found.map((run) => cell(run.figures, run))]),
        ["settings", ...found.map((run) => h("details", null, h("summary", null, "show"), h("p.small", null, settings(run))))],
      ]),
    found.filter((run) => run.in_sample_bars > 0).map((run) => h("p.small.warn", null, `${run.name} of ${moment(run.created_at)}: ${count(run.in_sample_bars)} candles were in the training data and are left out of the figures, but not of the curve.`)),
    [...new Set(found.map((run) => plantedWords(run.result.data?.origin)).filter(Boolean))].map((words) => h("p.small.warn", null, words)),
    found.flatMap((run) => run.problems.map((words) => h("p.small.warn", null, words))));
}

function curves(found, signal) {
  const place = h("div.drawn");
  const held = new Map();
  const series = found.map((run, i) => {
    const span = `${run.symbol} ${run.timeframe} ${run.first} ${run.last}`;
    if (!held.has(span)) held.set(span, { run, number: held.size });
    return { name: found.length > 1 ? `${i + 1}. ${run.name}` : run.name, style: STYLES[i], points: returns(run, "equity") };
  });
  for (const { run, number: at } of held.values()) {
    series.push({ name: held.size > 1 ? `buy and hold ${run.symbol} (${at + 1})` : "buy and hold", style: at ? "ink dashed thin" : "muted dashed", points: returns(run, "buy_and_hold") });
  }
  const chart = lineChart(place, { label: "Return since the start", yFormat: (y) => signed(y), series, baselines: [{ name: "start", y: 0 }] });
  signal.addEventListener("abort", () => chart.destroy(), { once: true });
  return panel("Equity", "return since the start, after costs", place);
}

/** What decided the run, as far as it was set. */
function settings({ config }) {
  const models = Object.entries(config.models ?? {}).map(([role, each]) => [role, each.model ?? each]);
  return [...models, ...Object.entries({ ...config.params, ...config.risk })].filter(([, value]) => value !== null)
    .map(([name, value]) => `${name.replaceAll("_", " ")}: ${typeof value === "object" ? JSON.stringify(value) : value}`).join("; ");
}

/** A curve as the return on the cash at the start: the first stored row is thinned and may be later than that. */
function returns(run, name) {
  const start = run.initial_cash;
  return run.equity.map((each) => [Date.parse(each.time), Number.isFinite(each[name]) ? each[name] / start - 1 : null]);
}

function days(run) {
  return (Date.parse(run.last) - Date.parse(run.first)) / 86_400_000;
}

function basis(share) {
  return Number.isFinite(share) ? `${(1e4 * share).toFixed(1).replace("-", "−")} bp` : NONE;
}
