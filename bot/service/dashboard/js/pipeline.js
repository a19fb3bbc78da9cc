/** Pipeline: recipes, the last cycle and the next, who serves and who challenges, and what drift was found. */

import { ask } from "./api.js";
import { h } from "./dom.js";
import { beside, chip, empty, failure, figures, load, panel, table } from "./parts.js";
import { DRIFT, NONE, count, interval, moment, number, percent, since } from "./words.js";

const KINDS = { promote: "good", quarantine: "bad", fallback: "watch", rollback: "watch", failed: "bad" };

/** Show the part. */
export async function show(root, view) {
  await load(root, view.signal, async () => {
    const [pipeline, drift] = await Promise.all([
      ask("/api/pipeline", { signal: view.signal }),
      ask("/api/drift", { signal: view.signal }).catch((problem) => ({ problem, models: [], findings: [], notes: [] })),
    ]);
    return { pipeline, drift };
  }, ({ pipeline, drift }) => {
    const bar = h("div.bar", null, h("h1", null, "Pipeline"), h("span.muted", null, cycleWords(pipeline)));
    if (!pipeline.models.length && !pipeline.last_cycle) {
      return [bar, empty("No cycle was run yet", "A cycle scores what every recipe's last version said of new candles, judges all by that record, trains what is due, and promotes by evidence.", "bot pipeline run", "bot pipeline status")];
    }
    const notes = [...new Set([...pipeline.notes, ...drift.notes, ...(pipeline.last_cycle?.problems ?? [])])];
    return [bar,
      notes.length > 0 && h("section.panel.warned", { "aria-label": "Notes" }, notes.map((note) => h("p", null, note))),
      drift.problem && failure({ title: "The state of drift cannot be read", detail: drift.problem.detail }),
      pipeline.models.map((model) => modelPanel(model, drift.models.find((each) => same(each, model)))),
      findings(pipeline.findings, drift.findings)];
  });
}

function same(a, b) {
  return a.symbol === b.symbol && a.timeframe === b.timeframe && a.type === b.type;
}

function cycleWords({ last_cycle: last }) {
  if (!last) return "no cycle yet";
  const ended = last.ended ? `, ended ${moment(last.ended)}` : "";
  return `last cycle ${moment(last.moment)}: ${last.status}${ended}`;
}

function modelPanel(model, drift) {
  const { champion } = model;
  return panel(`${model.symbol} ${model.timeframe} ${model.type}`, champion ? `${champion.recipe} serves since ${moment(champion.serves_since)}` : "nobody serves",
    model.why.map((words) => h("p.muted.small", null, words)),
    champion && figures([
      ["champion", h("a", { href: `#/models?${new URLSearchParams({ symbol: model.symbol, type: model.type, timeframe: model.timeframe, version: champion.version })}` }, champion.version), champion.age_hours === null ? null : ["learnt from candles until ", since(3600 * champion.age_hours), " ago"]],
      ...driftFigures(drift),
    ]),
    drift?.words && h("p.down", null, drift.words),
    drift?.calibration?.words && h("p.muted.small", null, drift.calibration.words),
    table(`Recipes of ${model.key}`, ["recipe", "newest version", { label: "due", class: "nowrap" }, { label: "hits", num: true }, { label: "evidence", num: true }, "role"],
      model.recipes.map((each) => [
        each.recipe,
        each.version ?? "none yet",
        each.next === "now" ? "now" : moment(each.next),
        each.hit_rate === null ? NONE : beside(percent(each.hit_rate), `of ${count(each.evaluations)}`),
        beside(evidence(each.evidence), `needed ${evidence(each.evidence_needed)}`),
        beside(each.role.split(",")[0], each.role.includes(",") ? each.role.slice(each.role.indexOf(",") + 2) : each.role === "champion" ? null : each.lacks),
      ]), { stacks: true }));
}

function driftFigures(drift) {
  if (!drift) return [];
  const { fall } = drift;
  return [
    ["drift", chip(drift.state, DRIFT[drift.state] ?? ""), `statistic ${number(drift.statistic, 0)} of ${drift.threshold === null ? "no threshold" : number(drift.threshold, 0)}`],
    ["right since it serves", Number.isFinite(drift.hit_rate) ? percent(drift.hit_rate) : NONE, `of ${count(drift.evaluations)}; promised ${percent(drift.reference)} of ${count(drift.reference_rows)}`],
    fall && ["lowest stretch", percent(fall.rate), `${interval(fall.low, fall.high)}, last ${count(fall.n)}`],
  ].filter(Boolean);
}

function evidence(value) {
  if (!Number.isFinite(value)) return NONE;
  return value >= 10 && value < 1e6 ? count(value) : value.toPrecision(2).replace("e+", "e");
}

function findings(decided, drift) {
  const known = new Map([...decided, ...drift].map((each) => [`${each.at} ${each.kind} ${each.text}`, each]));
  const rows = [...known.values()].sort((a, b) => b.at.localeCompare(a.at));
  return panel("Noticed and decided", "newest first", rows.length
    ? table("Findings", [{ label: "when", class: "nowrap" }, "model", "what", { label: "why", class: "wide" }],
      rows.map((each) => [moment(each.at), `${each.symbol} ${each.timeframe} ${each.type}`, chip(each.kind, KINDS[each.kind] ?? ""), each.text]), { stacks: true })
    : h("p.muted", null, "Nothing was noticed and nothing decided yet."));
}
