/** Decisions by hand about who serves: each asks for a reason, which the ledger keeps. */

import { ask as request } from "./api.js";
import { ask, field, reasonField } from "./dialogs.js";
import { announce, h } from "./dom.js";
import { percent } from "./words.js";

/** Ask for the reason, and put a version in charge. */
export async function promote(model, then) {
  const reason = reasonField();
  const skill = model.skill ?? {};
  const low = skill.direction_accuracy_low;
  const best = Math.max(0.5, skill.majority_baseline ?? 0, skill.last_sign_baseline ?? 0);
  const doubtful = Number.isFinite(low) && low <= best;
  const decided = await ask({
    title: `Promote ${model.version}`,
    words: "It answers from now on wherever the champion is asked, and running bots that follow take it over at their next candle.",
    fields: [
      doubtful && h("p.warn", null, `Its record does not show more than a baseline: at least ${percent(low)} right, the best baseline ${percent(best)}.`),
      field("Reason", reason, "kept in the ledger with the name of your token"),
    ],
    confirm: "Promote",
    work: () => request(`${path(model)}/promote`, { method: "POST", body: { timeframe: model.timeframe, version: model.version, reason: reason.value.trim() } }),
  });
  if (decided) {
    announce(`${decided.champion} is champion`);
    then();
  }
}

/** Ask for the reason, and put the champion before this one back in charge. */
export async function demote(champion, then) {
  const reason = reasonField();
  const decided = await ask({
    title: `Roll back ${champion.symbol} ${champion.timeframe} ${champion.type}`,
    words: `${champion.version} steps down, and the champion before it serves again.`,
    fields: [field("Reason", reason, "kept in the ledger with the name of your token")],
    confirm: "Roll back",
    work: () => request(`${path(champion)}/rollback`, { method: "POST", body: { timeframe: champion.timeframe, reason: reason.value.trim() } }),
  });
  if (decided) {
    announce(`${decided.champion} is champion again`);
    then();
  }
}

function path(model) {
  return `/api/models/${encodeURIComponent(model.symbol)}/${encodeURIComponent(model.type)}`;
}
