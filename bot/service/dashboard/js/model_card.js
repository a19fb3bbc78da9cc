/** The card of one version: what it learnt from, what it showed, what was decided about it. */

import { ask } from "./api.js";
import { h } from "./dom.js";
import { markdown } from "./markdown.js";
import { beside, chip, facts, load, panel, table, writeButton } from "./parts.js";
import { demote, promote } from "./promotion.js";
import { NONE, age, count, moment } from "./words.js";

/** Show the card that the address names. */
export function card(root, view) {
  const { symbol, type, timeframe, version } = Object.fromEntries(view.choices);
  const path = ["/api/models", symbol, type, version].map((part, i) => (i ? encodeURIComponent(part ?? "") : part)).join("/");
  return load(root, view.signal, () => ask(path, { query: { timeframe }, signal: view.signal }), (found) => [
    h("p", null, h("a", { href: "#/models" }, "All models")),
    h("div.bar", null, h("h1", null, `${found.symbol} ${found.timeframe} ${found.type}`), chip(found.status, found.champion ? "main" : ""),
      found.champion
        ? writeButton("Roll back", () => demote(found, view.again))
        : writeButton("Promote", () => promote(found, view.again))),
    found.notes.map((note) => h("p.warn", null, note)),
    h("div.grid.halves", null,
      panel("Card", found.version, h("div.card", null, found.card ? markdown(found.card) : h("p.muted", null, "This bundle has no card."))),
      h("div.stack", null,
        panel("Judged", verdict(found.gate), h("p", null, found.gate.reason ?? NONE)),
        panel("Shown first", "on unseen candles", facts(found.headline.map((row) => [row.what, beside(row.measured, row.beside)]))),
        panel("Decisions", "of the ledger, oldest first", table("Decisions about this version", [{ label: "when", class: "nowrap" }, "what", "why"],
          found.history.map((row) => [moment(row.time), row.action, row.reason || NONE]), { stacks: true })),
        panel("Bundle", null, facts([
          ["registered", `${moment(found.registered_at)}, ${age(found.age_seconds)} ago`],
          ["learnt until", moment(found.trained_until)],
          ["task", found.task ?? NONE],
          ["digest", h("code", null, found.digest)],
        ]), h("details", null, h("summary", null, `${count(Object.keys(found.files).length)} files`),
          table("Files of the bundle", ["file", { label: "bytes", num: true }], Object.entries(found.files).map(([name, file]) => [name, count(file.bytes)]))))))]);
}

function verdict(gate) {
  if (gate.promoted === true) return "its record passed the gate";
  if (gate.promoted === false) return "its record did not pass the gate";
  return "no gate for this family";
}
