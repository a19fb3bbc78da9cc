/** Market: candles with what a model says of the next ones, and how far that may be trusted. */

import { ask } from "./api.js";
import { candleChart } from "../charts/candles.js";
import { announce, fill, h, sleep } from "./dom.js";
import { choice, empty, failure, load, panel, writeButton } from "./parts.js";
import { prediction, stepsTable } from "./prediction.js";
import { jobRow } from "./job_row.js";
import { trainDialog } from "./training.js";
import { moment, plantedWords, timeframeMs } from "./words.js";

const FIRST_CANDLES = 1_000;
const POINTS = 2_500;
const LOOK_AGAIN_MS = 30_000;

/** Show the part. */
export async function show(root, view) {
  await load(root, view.signal, () => Promise.all([ask("/api/series", { signal: view.signal }), ask("/api/models", { signal: view.signal })]),
    ([series, models]) => {
      if (!series.length) {
        return [h("h1", null, "Market"), empty("No candles yet",
          "Candles come from an exchange, from a file, or from the built-in market, in which an edge of known size is planted.",
          "bot data download BTC/USDT --exchange binance --timeframe 1h --start 2022-01-01",
          "bot data import candles.csv --symbol BTC/USDT --timeframe 1h --exchange binance",
          "bot data synth --symbol SYNTH --bars 26280 --edge 0.06 --seed 7")];
      }
      return market(view, series, models);
    });
}

function market(view, series, models) {
  const name = (each) => `${each.symbol} ${each.timeframe} ${each.exchange}`;
  const wanted = ["symbol", "timeframe", "exchange"].map((key) => [key, view.choices.get(key)]).filter(([, value]) => value);
  const served = (each) => models.some((one) => one.champion && one.symbol === each.symbol && one.timeframe === each.timeframe);
  const chosen = series.find((each) => wanted.every(([key, value]) => each[key] === value) && (wanted.length || served(each))) ?? series[0];
  const known = modelsOf(models, chosen);
  let model = known.find((each) => each.type === view.choices.get("model")) ?? known.find((each) => each.champion) ?? known[0] ?? null;
  const at = { symbol: chosen.symbol, timeframe: chosen.timeframe, exchange: chosen.exchange };
  const jobs = h("div.stack.tight", { "aria-label": "Jobs asked for here", role: "region" });
  const side = h("div.stack");
  const steps = h("div");
  const chart = h("div.drawn.tall");
  const planted = plantedWords(chosen.origin);

  const bar = h("div.bar", null, h("h1", null, "Market"),
    choice("Series", series.map((each) => [name(each), name(each)]), name(chosen), (value) => {
      const next = series.find((each) => name(each) === value);
      view.go("market", { symbol: next.symbol, timeframe: next.timeframe, exchange: next.exchange });
    }),
    known.length > 0 && choice("Model", known.map((each) => [each.type, `${each.type} (${each.champion ? "champion" : each.status})`]), model.type,
      (value) => view.go("market", { ...at, model: value })),
    known.length > 0 && writeButton("Predict", async () => {
      try {
        const started = await ask("/api/predictions/generate", { method: "POST", body: { symbol: at.symbol, timeframe: at.timeframe, type: model.type, auto_train: false } });
        follow(await ask(`/api/jobs/${started.prediction_id}`));
      } catch (error) {
        fill(jobs, failure(error));
      }
    }),
    writeButton("Train…", async () => {
      const job = await trainDialog({ ...at, type: model?.type });
      if (job) follow(job);
    }));

  function follow(job) {
    const row = jobRow(job, view.signal, { onDone: (done) => { if (done.status === "completed") anew(done); }, onClose: () => row.remove() });
    jobs.querySelector(`[data-job="${job.id}"]`)?.remove();
    jobs.prepend(row);
  }

  /** Look again at who serves: the job may have made or promoted a version. */
  async function anew(job) {
    const newer = await ask("/api/models", { signal: view.signal }).catch(() => models);
    const type = model?.type ?? job.request.type;
    model = modelsOf(newer, chosen).find((each) => each.type === type) ?? model;
    if (!view.signal.aborted) answer();
  }

  let drawn = null;
  let said = null;
  const drawing = draw(chart, view, chosen).then((made) => {
    drawn = made;
    if (said) drawn?.forecast(said);
  });

  async function answer() {
    if (!model) {
      fill(side, empty("No model of this series", "One is trained in the background by the button above, or by:", `bot train model ${chosen.symbol} --type basic --timeframe ${chosen.timeframe}`));
      return;
    }
    await load(side, view.signal, saidNow, told);
  }

  function saidNow() {
    const version = model.champion ? "latest" : model.version;
    return ask("/api/predictions", { signal: view.signal, query: { ...at, type: model.type, version, auto_train: false } });
  }

  function told(found) {
    said = found;
    drawn?.forecast(found);
    fill(steps, stepsTable(found));
    return prediction(found, model);
  }

  /** Follow the market: ages grow, and with a new candle there is a new prediction. */
  async function stay() {
    while (!view.signal.aborted) {
      await sleep(LOOK_AGAIN_MS, view.signal);
      if (view.signal.aborted || document.hidden || !said) continue;
      const before = said.timestamp;
      const newer = await saidNow().catch(() => null); // what is shown stays, with its time; the next look asks again
      if (!newer || view.signal.aborted || (newer.timestamp === before && side.contains(document.activeElement))) continue;
      if (newer.timestamp !== before) {
        await drawn?.renew().catch(() => {});
        announce(`A new candle of ${chosen.symbol} closed`);
      }
      fill(side, told(newer));
    }
  }

  answer();
  stay();
  drawing.catch((error) => { if (!view.signal.aborted) fill(chart, failure(error, view.again)); });
  return [bar, jobs, h("div.grid.market", null,
    panel(`${chosen.symbol} ${chosen.timeframe}`, `${chosen.exchange} · candles until ${moment(chosen.last)}`, planted && h("p.small.warn", null, planted), chart), side, steps)];
}

/** One model a family: its champion, else its newest. */
function modelsOf(models, series) {
  const found = new Map();
  for (const each of models) {
    if (each.symbol !== series.symbol || each.timeframe !== series.timeframe || each.broken || each.quarantined) continue;
    if (!found.has(each.type) || each.champion) found.set(each.type, each);
  }
  return [...found.values()];
}

async function draw(place, view, series) {
  const step = timeframeMs(series.timeframe);
  const query = { symbol: series.symbol, timeframe: series.timeframe, exchange: series.exchange, points: POINTS };
  const read = (from, to) => ask("/api/candles", { signal: view.signal, query: { ...query, start: from, end: to } });
  const last = Date.parse(series.last);
  if (series.problem || !Number.isFinite(last)) {
    fill(place, series.problem ? failure({ title: "These candles cannot be read", detail: series.problem }) : empty("This series is empty", "No candle of it is stored."));
    return null;
  }
  const newest = (from) => read(new Date(from - FIRST_CANDLES * step).toISOString());
  const ends = (found) => [Date.parse(found.stored_from), Date.parse(found.stored_until) + step];
  const table = await newest(last);
  if (view.signal.aborted) return null;
  let limits = ends(table);
  let asked = 0;
  const chart = candleChart(place, {
    rows: table.rows, group: table.group, timeframeMs: step, limits, label: `${series.symbol} ${series.timeframe}`,
    onRange: async (from, to) => {
      const turn = ++asked;
      const span = to - from;
      const start = Math.max(limits[0], Math.floor(from - span / 2));
      const end = Math.min(limits[1], Math.ceil(to + span / 2));
      if (end <= start) return;
      try {
        const newer = await read(new Date(start).toISOString(), new Date(end).toISOString());
        if (turn === asked && newer.rows.length && !view.signal.aborted) chart.update({ rows: newer.rows, group: newer.group });
      } catch { /* what is drawn stays; the next move asks again */ }
    },
  });
  view.signal.addEventListener("abort", () => chart.destroy());
  return {
    renew: async () => {
      const atEnd = chart.view()[1] >= limits[1];
      const newer = await newest(limits[1]);
      if (view.signal.aborted) return;
      limits = ends(newer);
      chart.update(atEnd ? { rows: newer.rows, group: newer.group, limits } : { limits });
    },
    forecast: (found) => chart.update({
      forecast: found.status === "ok" ? found.predictions : [], trustedSteps: found.trusted_steps,
      origin: { time: found.timestamp, price: found.current_price },
    }),
  };
}
