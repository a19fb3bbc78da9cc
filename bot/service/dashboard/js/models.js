/** Models: who serves, who could, how good each was on unseen candles, and whether that still holds. */

import { ask } from "./api.js";
import { h } from "./dom.js";
import { demote, noWayBack, promote } from "./promotion.js";
import { card } from "./model_card.js";
import { beside, chip, empty, failure, load, panel, table, writeButton } from "./parts.js";
import { DRIFT, NONE, count, interval, moment, percent, plainName, since, tidy } from "./words.js";

const STATUS = { champion: "main", candidate: "", quarantined: "bad", archived: "" };

/** Show the part. */
export async function show(root, view) {
  if (view.choices.get("version")) return card(root, view);
  return load(root, view.signal, async () => {
    const [models, drift] = await Promise.all([
      ask("/api/models", { signal: view.signal }),
      ask("/api/drift", { signal: view.signal }).catch((problem) => ({ problem, models: [], notes: [] })),
    ]);
    return { models, drift };
  }, ({ models, drift }) => {
    if (!models.length) {
      return [h("h1", null, "Models"), empty("No models yet",
        "A model is trained on stored candles, judged on those that it had not seen, and promoted only where it beats every baseline.",
        "bot train model SYNTH --type basic --timeframe 1h", "bot pipeline run")];
    }
    return [h("div.bar", null, h("h1", null, "Models"), h("span.muted", null, `${count(models.length)} versions`)),
      drift.problem && failure({ title: "The state of drift cannot be read", detail: drift.problem.detail }),
      ...groups(models).map((group) => key(view, group, drift.models))];
  });
}

/** Versions by what they are for: symbol, timeframe and family. */
function groups(models) {
  const found = new Map();
  for (const each of models) {
    const name = `${each.symbol} ${each.timeframe} ${each.type}`;
    if (!found.has(name)) found.set(name, []);
    found.get(name).push(each);
  }
  return [...found.entries()].sort(([a], [b]) => a.localeCompare(b)).map(([name, versions]) => ({ name, versions }));
}

function key(view, { name, versions }, drift) {
  const champion = versions.find((each) => each.champion);
  const archived = versions.filter((each) => each.status === "archived");
  const current = [champion, ...versions.filter((each) => !each.champion && each.status !== "archived")].filter(Boolean);
  const words = champion ? `champion since ${moment(champion.promoted_at)}` : "nobody serves: no version is promoted";
  const box = panel(name, [words, champion && writeButton("Roll back", () => demote(champion, view.again), { name: `Roll back the champion of ${name}`, without: noWayBack(champion, versions) })],
    current.length > 0 && versionsTable(view, `Versions of ${name}`, current, drift),
    archived.length > 0 && h("details", null, h("summary", null, `${count(archived.length)} archived`),
      versionsTable(view, `Archived versions of ${name}`, archived, drift)));
  box.dataset.key = name;
  return box;
}

function versionsTable(view, label, versions, drift) {
  return table(label, [{ label: "version", class: "name" }, { label: "state", class: "state-cell" }, { label: "on unseen candles", class: "wide-cell" }, "drift", { label: "learnt until", class: "nowrap" }, { label: "age", num: true }, ""],
    versions.map((each) => [
      h("a", { href: view.address("models", { symbol: each.symbol, type: each.type, timeframe: each.timeframe, version: each.version }) }, each.version),
      each.broken ? beside(chip("damaged", "bad"), each.broken) : chip(each.status, STATUS[each.status]),
      shown(each),
      driftCell(each, drift),
      moment(each.trained_until),
      since(each.age_seconds),
      each.champion || each.broken ? null : writeButton("Promote", () => promote(each, view.again), { name: `Promote ${each.version}` }),
    ]), { stacks: true });
}

/** The first figure of a version with its interval and what it must be held against. */
function shown(each) {
  const skill = each.skill ?? {};
  if (Number.isFinite(skill.direction_accuracy) && each.task !== "path") {
    const words = ["majority", "last_sign"].filter((name) => Number.isFinite(skill[`${name}_baseline`]))
      .map((name) => `${plainName(name)} ${percent(skill[`${name}_baseline`])}`);
    return beside(`${percent(skill.direction_accuracy)} right (${interval(skill.direction_accuracy_low, skill.direction_accuracy_high)}), n = ${count(skill.n)}`, words.join(", "));
  }
  const first = each.headline?.[0];
  return first ? beside(`${first.what}: ${tidy(first.measured)}`, tidy(first.beside)) : NONE;
}

function driftCell(each, drift) {
  const found = drift.find((one) => one.version === each.version && one.symbol === each.symbol && one.type === each.type && one.timeframe === each.timeframe);
  if (!found) return each.champion ? beside(NONE, "no recipe watches it") : NONE;
  if (!Number.isFinite(found.hit_rate)) return beside(NONE, "not scored yet");
  const words = `${percent(found.hit_rate)} of ${count(found.evaluations)}, promised ${percent(found.reference)}`;
  return beside(chip(found.state, DRIFT[found.state] ?? ""), words);
}
