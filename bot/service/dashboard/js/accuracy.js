/** Accuracy: predictions against what came true, as time went by, and how true the stated probabilities are. */

import { ask } from "./api.js";
import { calibrationChart } from "../charts/calibration.js";
import { lineChart } from "../charts/lines.js";
import { h } from "./dom.js";
import { choice, empty, figures, load, panel, table } from "./parts.js";
import { count, interval, moment, percent, plainName } from "./words.js";

const WINDOWS = ["100", "500", "2000"];

/** Show the part. */
export async function show(root, view) {
  await load(root, view.signal, () => ask("/api/models", { signal: view.signal }), (models) => {
    const keys = keysOf(models);
    if (!keys.length) {
      return [h("h1", null, "Accuracy"), empty("No model has said anything yet",
        "What a trained model said of candles that it had not seen is held here against what came true.",
        "bot train model SYNTH --type basic --timeframe 1h", "bot pipeline run")];
    }
    const wanted = ["symbol", "timeframe", "type"].map((name) => [name, view.choices.get(name)]).filter(([, value]) => value);
    const chosen = keys.find((key) => wanted.every(([name, value]) => key[name] === value)) ?? keys[0];
    const window = WINDOWS.includes(view.choices.get("window")) ? view.choices.get("window") : "500";
    const place = h("div.stack");
    const read = () => ask("/api/accuracy", { signal: view.signal, query: { symbol: chosen.symbol, timeframe: chosen.timeframe, type: chosen.type, window } });
    load(place, view.signal, read, (found) => told(found, view.signal));
    return [h("div.bar", null, h("h1", null, "Accuracy"),
      choice("Model", keys.map((key) => [key.name, key.name]), chosen.name, (name) => {
        const { symbol, timeframe, type } = keys.find((key) => key.name === name);
        view.go("accuracy", { symbol, timeframe, type, window });
      }),
      choice("Rolling over", WINDOWS.map((each) => [each, `${count(Number(each))} evaluations`]), window,
        (value) => view.go("accuracy", { symbol: chosen.symbol, timeframe: chosen.timeframe, type: chosen.type, window: value }))), place];
  });
}

/** The models by symbol, timeframe and family; those with a champion first. */
function keysOf(models) {
  const found = new Map();
  for (const { symbol, timeframe, type, champion, broken } of models) {
    if (broken) continue;
    const name = `${symbol} ${timeframe} ${type}`;
    const known = found.get(name);
    found.set(name, { name, symbol, timeframe, type, champion: champion || (known?.champion ?? false) });
  }
  return [...found.values()].sort((a, b) => b.champion - a.champion || a.name.localeCompare(b.name));
}

function told(found, signal) {
  const notes = found.notes.map((note) => h("p.muted", null, note));
  if (!found.rows) {
    return [notes, empty("Nothing was evaluated yet", "This model has no record of single predictions on unseen candles. A recipe of the pipeline keeps one from its first cycle on.", "bot pipeline run")];
  }
  const { overall } = found;
  const best = Math.max(0.5, ...Object.values(overall.baselines));
  const error = found.calibration_error;
  return [notes,
    panel("Over all", source(found), figures([
      [hits(found), percent(overall.accuracy), `${interval(overall.low, overall.high)}, n = ${count(overall.n)}`],
      ...Object.entries(overall.baselines).map(([name, value]) => [plainName(name), percent(value), "on the same candles"]),
      ["stated on average", percent(overall.stated), `came true ${percent(overall.accuracy)}`],
      error && ["calibration error", percent(error.value), `at most ${percent(error.upper)}`],
    ].filter(Boolean)),
    overall.low <= best && h("p.warn", null, `The interval reaches down to ${percent(best)}: this record shows no skill beyond the best baseline.`)),
    h("div.grid.halves", null, rolling(found, signal), calibration(found, signal))];
}

function hits(found) {
  return ["direction", "momentum"].includes(found.task) || found.task === null ? "direction right" : "came true";
}

function source(found) {
  if (found.source === "prequential" && !found.recipe && !found.prequential_from) {
    return "walk-forward of its training; nothing scored since";
  }
  const words = found.source === "prequential" ? "the running record of the recipe" : "the walk forward of its training";
  const since = found.prequential_from ? `, live since ${moment(found.prequential_from)}` : "";
  return `${words}${found.recipe ? ` ${found.recipe}` : ""}${since}; no candle was seen before`;
}

function rolling(found, signal) {
  const place = h("div.drawn");
  const names = Object.keys(found.overall.baselines);
  const at = (each) => Date.parse(each.time);
  keep(signal, lineChart(place, {
    label: `Share of the last ${count(found.window)} predictions that came true`,
    yFormat: "percent",
    series: [
      { name: "came true", style: "accent", points: found.rolling.map((each) => [at(each), each.accuracy]), band: found.rolling.map((each) => [at(each), each.low, each.high]) },
      ...names.map((name, i) => ({ name: plainName(name), style: i ? "warn dashed" : "muted dashed", points: found.rolling.map((each) => [at(each), each.baselines[name]]) })),
      { name: "stated", style: "ink thin", points: found.rolling.map((each) => [at(each), each.stated]) },
    ],
    baselines: [{ name: "a coin", y: 0.5 }],
  }));
  return panel("As time went by", `rolling over ${count(found.window)}, with its 95 % interval`, place);
}

function calibration(found, signal) {
  const place = h("div.drawn");
  keep(signal, calibrationChart(place, {
    label: "Stated probability against what came true",
    bins: found.calibration.map((bin) => ({ stated: bin.stated, came_true: bin.observed, low: bin.observed_low, high: bin.observed_high, n: bin.n })),
  }));
  return panel("Calibration", "on the diagonal a stated probability is true", place,
    h("details", null, h("summary", null, "In numbers"),
      table("Calibration", [{ label: "stated", num: true }, { label: "came true", num: true }, { label: "95 % interval", num: true }, { label: "n", num: true }],
        found.calibration.map((bin) => [percent(bin.stated), percent(bin.observed), interval(bin.observed_low, bin.observed_high), count(bin.n)]))));
}

/** End a chart with its view. */
function keep(signal, chart) {
  if (signal.aborted) chart.destroy();
  else signal.addEventListener("abort", () => chart.destroy(), { once: true });
}
