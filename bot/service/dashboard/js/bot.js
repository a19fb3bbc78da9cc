/** One bot: account, positions, orders, the last decision and why, protections, and what it did. */

import { lineChart } from "../charts/lines.js";
import { fill, h } from "./dom.js";
import { beside, chip, facts, figures, panel, table } from "./parts.js";
import { NONE, count, moment, number, percent, price, signed, since } from "./words.js";

const VERDICTS = { ok: "good", no: "bad" };
const HEALTHY = ["live", "connected"]; // what a bot says of a connection that works

/**
 * Show a bot.
 * @returns {HTMLElement & {renew: function(Object, Object[]): void}} With newer words it draws itself anew; what was unfolded stays so.
 */
export function bot(found, decisions, signal) {
  const place = h("div.stack", { "data-bot": found.name });
  const words = h("div.stack");
  const drawing = h("div.drawn");
  const later = h("div.stack");
  let chart = null;
  fill(place, words, later);
  place.renew = (newer, rows) => {
    const open = [...place.querySelectorAll("details[open]")].map((each) => each.dataset.name);
    const held = place.contains(document.activeElement) ? document.activeElement.closest("details")?.dataset.name : null;
    fill(words, account(newer), newer.symbols.map((each) => symbol(each)));
    fill(later, newer.equity.length > 0 && panel("Equity", curveWords(newer), drawing), orders(newer), decided(rows), events(newer));
    for (const each of place.querySelectorAll("details")) {
      each.open = open.includes(each.dataset.name);
      if (held === each.dataset.name) each.querySelector("summary").focus({ preventScroll: true });
    }
    const data = { series: [{ name: newer.name, style: "accent", points: newer.equity.map((each) => [Date.parse(each.bar_at), each.value]) }],
      baselines: [{ name: "start", y: newer.initial_value }] };
    if (newer.equity.length) {
      if (chart) chart.update(data);
      else chart = lineChart(drawing, { label: `Equity of ${newer.name}`, yFormat: "price", ...data });
    }
  };
  place.renew(found, decisions);
  signal.addEventListener("abort", () => chart?.destroy(), { once: true });
  return place;
}

function account(row) {
  const kill = row.kill_switch ?? {};
  return panel(row.name, `${row.mode} · ${row.exchange} · ${row.timeframe}`,
    h("div.row", null, stateChip(row), row.running && chip(row.connection ?? "no connection", HEALTHY.includes(row.connection) ? "good" : "watch"),
      h("span.muted.small", null, "heard ", since(row.silent_seconds), " ago"),
      row.waiting_commands > 0 && chip(`${row.waiting_commands} commands wait`, "watch")),
    kill.is_on && h("p.down", null, `The kill switch is on: ${kill.reason || "no position is opened"}.`),
    row.protections.map((each) => h("p.warn", null, each)),
    figures([
      ["value", number(row.value), `${signed(row.value / row.initial_value - 1, 2)} of ${number(row.initial_value)} at the start`],
      ["cash", number(row.cash)],
      ["fall from its highest", percent(row.drawdown)],
      ["this day", signed(row.day_return, 2)],
      ["candles", count(row.bars), `the newest closed ${moment(row.market_at)}`],
      ["errors", count(row.errors), null, row.errors > 0 ? "warn" : ""],
    ]));
}

function symbol(each) {
  const holds = Math.abs(each.position) > 0;
  const gain = holds && each.entry_price ? each.close / each.entry_price - 1 : null;
  const row = each.decision;
  return panel(each.symbol, `candle of ${moment(each.bar_at)}`,
    figures([
      ["position", holds ? number(each.position, 6) : "none", holds ? `bought at ${price(each.entry_price)}, now ${signed(gain, 2)}` : null],
      ["close", price(each.close)],
      ["stop", price(each.stop)],
      ["target", price(each.target)],
    ]),
    each.predictions?.length > 0 && h("p.small", null, each.predictions.map((said) => `${said.role ?? "prediction"}: ${said.direction ?? said.status} ${Number.isFinite(said.confidence) ? percent(said.confidence) : ""} (${said.model ?? said.version})`).join("; ")),
    h("p", null, h("strong", null, `Last decision: ${row?.decision?.action_words ?? each.action ?? "none yet"}`), ` — ${row?.decision?.reason_words ?? each.reason ?? "no candle was decided"}`),
    row?.decision && named(`gates ${each.symbol}`, "Why: every gate with its value and threshold", gates(row.decision.gates)),
    each.open_orders?.length > 0 && table(`Resting orders of ${each.symbol}`, ["resting", "side", { label: "size", num: true }, { label: "price", num: true }],
      each.open_orders.map((order) => [order.kind, order.side, number(order.size, 6), price(order.price)])));
}

function gates(rows) {
  return table("Gates", ["gate", "passed", { label: "figures", class: "nowrap" }, ""],
    rows.map((gate) => [gate.words ?? gate.name, chip(gate.verdict, VERDICTS[gate.verdict] ?? ""), gate.figures, gate.decides ? "decides" : ""]));
}

function curveWords(row) {
  return `${count(row.equity.length)} newest candles, of all symbols together`;
}

function orders(row) {
  return !row.orders.length ? h("p.muted", null, "It ordered nothing yet.")
    : named("orders", `${count(row.orders.length)} newest orders`, table("Orders", [{ label: "sent", class: "nowrap" }, "symbol", "what", { label: "size", num: true }, { label: "price", num: true }, "state"],
      row.orders.map((order) => [moment(order.sent_at), order.symbol, beside(`${order.side} ${order.kind}`, order.role), number(Number(order.size), 6),
        price(Number(order.price ?? order.stop_price ?? NaN)), beside(order.state, order.reason)]), { stacks: true }));
}

function decided(rows) {
  return !rows.length ? h("p.muted", null, "No candle was decided yet.")
    : named("decisions", `${count(rows.length)} newest decisions`, table("Decisions", [{ label: "candle closed", class: "nowrap" }, "symbol", "predicted", "decided", { label: "value", num: true }],
      rows.map((row) => [moment(row.closed_at), row.symbol, Object.values(row.predictions).map((said) => h("div", null, said.words)),
        row.decision ? beside(row.decision.action_words, row.decision.reason_words) : NONE, number(row.value)]), { stacks: true }));
}

function events(row) {
  return panel("Events", "newest first", row.events.length
    ? h("ol.log", null, row.events.slice().reverse().slice(0, 12).map((each) => h("li", null, h("time", { datetime: each.at }, moment(each.at)), each.text)))
    : h("p.muted", null, "Nothing happened yet."), facts([["run", h("code", null, row.run_id)], ["started", moment(row.started_at)]]));
}

function named(name, summary, ...children) {
  return h("details", { "data-name": name }, h("summary", null, summary), children);
}

/** Whether it runs, in a word. */
export function stateChip(row) {
  if (!row.running) return chip("stopped", "");
  if (row.kill_switch?.is_on) return chip("killed", "bad");
  if (row.connection && !HEALTHY.includes(row.connection)) return chip(row.connection, "watch");
  return chip(row.state ?? "running", row.state === "running" || !row.state ? "good" : "watch");
}
