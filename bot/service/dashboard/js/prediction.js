/** What a model says, in words: beside what it must be held against, and why it says nothing. */

import { h } from "./dom.js";
import { beside, chip, facts, figures, panel, table } from "./parts.js";
import { NONE, count, interval, moment, percent, plainName, price, signed, since, statusWords, sureness, tidy } from "./words.js";

const SHOWN_STEPS = 12;

/** The panels beside the chart. */
export function prediction(found, model) {
  return [found.status === "ok" ? said(found, model) : silent(found), record(model), ages(found, model)];
}

function said(found, model) {
  const last = found.predictions.at(-1);
  const direction = found.direction ?? (last?.predicted_return > 0 ? "UP" : last?.predicted_return < 0 ? "DOWN" : null);
  const until = last?.timestamp;
  const confidence = found.confidence ?? last?.confidence;
  const extra = [];
  if (Number.isFinite(last?.risk)) extra.push(["risk", `${last.risk.toFixed(0)} of 100`]);
  if (Number.isFinite(last?.predicted_volatility)) extra.push(["volatility", percent(last.predicted_volatility, 2), "to the horizon"]);
  return panel("Prediction", `until ${moment(until)}`,
    found.in_sample && h("p.warn.small", null, "This candle was in the model's training data: what it says of it is no evidence."),
    direction && opinion(direction, confidence),
    direction && h("p.muted.small", null, confidence === 0.5 ? "50 %: as likely up as down" : `${sureness(confidence)}; 50 % is no opinion`),
    figures([
      ["now", price(found.current_price)],
      ["expected", price(last?.predicted_close), signed(last?.predicted_return, 2)],
      ["in 9 of 10 cases", Number.isFinite(last?.low) ? `${price(last.low)} to ${price(last.high)}` : NONE],
      ["trusted", trustWords(found), trustBeside(found, model)],
      ...extra,
    ]));
}

/** Which way, and how sure; a coin has no opinion, whatever the sign says. */
function opinion(direction, confidence) {
  if (confidence === 0.5) return h("p.said", null, h("span.muted", null, "No opinion"));
  return h("p.said", null, h("span", { class: direction === "UP" ? "up" : "down" }, direction === "UP" ? "Up" : "Down"),
    Number.isFinite(confidence) ? `, ${percent(confidence)}` : "");
}

function trustWords(found) {
  const steps = found.predictions.length;
  if (steps > 1) return `${count(found.trusted_steps)} of ${count(steps)} steps`;
  return found.predictions[0]?.trusted ? "yes" : "no";
}

function trustBeside(found, model) {
  if (found.predictions.length > 1) return "beat no change and drift on unseen candles";
  return model.champion ? "its record beat every baseline" : "its record decides, not this candle";
}

function silent(found) {
  return h("section.panel.warned", { "aria-label": "Prediction" },
    h("header", null, h("h2", null, "No prediction"), chip(found.status.replaceAll("_", " "), "watch")),
    h("p", null, statusWords(found.status)),
    figures([["now", price(found.current_price)]]));
}

/** How good it was on candles that it had not seen. */
function record(model) {
  const skill = model.skill ?? {};
  if (Number.isFinite(skill.direction_accuracy)) {
    const baselines = ["majority", "last_sign"].filter((name) => Number.isFinite(skill[`${name}_baseline`]));
    const best = Math.max(0.5, ...baselines.map((name) => skill[`${name}_baseline`]));
    return panel("Its record", `${count(skill.n)} unseen candles`,
      figures([["direction right", percent(skill.direction_accuracy), interval(skill.direction_accuracy_low, skill.direction_accuracy_high)],
        ...baselines.map((name) => [plainName(name), percent(skill[`${name}_baseline`])]), ["a coin", percent(0.5)]]),
      skill.direction_accuracy_low <= best && h("p.small.warn", null, "The interval reaches down to a baseline: this may be luck."));
  }
  const rows = model.headline ?? [];
  return rows.length > 0 && panel("Its record", "on unseen candles", facts(rows.map((row) => [row.what, beside(tidy(row.measured), tidy(row.beside))])));
}

function ages(found, model) {
  const info = found.model_info;
  return panel("Ages", null, facts([
    ["candle", [`closed ${moment(found.timestamp)}, `, since(found.age_seconds), " ago"]],
    ["model", h("a", { href: `#/models?${new URLSearchParams({ symbol: model.symbol, type: model.type, timeframe: model.timeframe, version: info.version })}` }, info.version)],
    ["", model.champion ? chip("champion", "main") : chip(model.status)],
    ["trained", [`${moment(info.trained_at)}, `, since(info.age_seconds), " ago"]],
    ["learnt until", moment(info.trained_until)],
  ]));
}

/** The steps of a path in a table; of a single step there is none. */
export function stepsTable(found) {
  if (found.status !== "ok" || found.predictions.length < 2) return null;
  const rows = found.predictions.map((step) => [
    `+${step.step}`, moment(step.timestamp), beside(price(step.predicted_close), signed(step.predicted_return, 2)),
    Number.isFinite(step.low) ? `${price(step.low)} to ${price(step.high)}` : NONE, percent(step.confidence), step.trusted ? "yes" : "no",
  ]);
  const columns = ["step", { label: "closes", class: "nowrap" }, { label: "expected", num: true }, { label: "9 of 10 cases", num: true }, { label: "direction right", num: true }, "trusted"];
  const rest = rows.slice(SHOWN_STEPS);
  return panel("Steps", `${count(found.trusted_steps)} of ${count(rows.length)} are supported by the record`,
    table("Steps of the forecast", columns, rows.slice(0, SHOWN_STEPS)),
    rest.length > 0 && h("details", null, h("summary", null, `${count(rest.length)} more`), table("Further steps of the forecast", columns, rest)));
}
