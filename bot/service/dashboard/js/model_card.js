/** The card of one version: what it learnt from, what it showed, what was decided about it. */

import { ask } from "./api.js";
import { h } from "./dom.js";
import { markdown } from "./markdown.js";
import { beside, chip, facts, load, panel, table, writeButton } from "./parts.js";
import { demote, noWayBack, promote } from "./promotion.js";
import { NONE, count, moment, since, tidy } from "./words.js";

/** Show the card that the address names. */
export function card(root, view) {
  const { symbol, type, timeframe, version } = Object.fromEntries(view.choices);
  const path = ["/api/models", symbol, type, version].map((part, i) => (i ? encodeURIComponent(part ?? "") : part)).join("/");
  const read = () => Promise.all([ask(path, { query: { timeframe }, signal: view.signal }), ask("/api/models", { signal: view.signal })]);
  return load(root, view.signal, read, ([found, versions]) => [
    h("p", null, h("a", { href: "#/models" }, "All models")),
    h("div.bar", null, h("h1", null, `${found.symbol} ${found.timeframe} ${found.type}`), chip(found.status, found.champion ? "main" : ""),
      found.champion
        ? writeButton("Roll back", () => demote(found, view.again), { without: noWayBack(found, versions) })
        : writeButton("Promote", () => promote(found, view.again))),
    found.notes.map((note) => h("p.warn", null, note)),
    h("div.grid.halves", null,
      panel("Card", found.version, h("div.card", null, found.card ? markdown(found.card) : h("p.muted", null, "This bundle has no card."))),
      h("div.stack", null,
        panel("Judged", verdict(found.gate), h("p", null, tidy(found.gate.reason) || NONE)),
        panel("Shown first", "on unseen candles", facts(found.headline.map((row) => [row.what, beside(tidy(row.measured), tidy(row.beside))]))),
        panel("Decisions", "of the ledger, oldest first", table("Decisions about this version", [{ label: "when", class: "nowrap" }, "what", "why"],
          found.history.map((row) => [moment(row.time), row.action, tidy(row.reason) || NONE]), { stacks: true })),
        panel("Bundle", null, facts([
          ["registered", [moment(found.registered_at), ", ", since(found.age_seconds), " ago"]],
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
