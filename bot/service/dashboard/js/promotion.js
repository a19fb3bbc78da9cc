/** Decisions by hand about who serves: each asks for a reason, which the ledger keeps. */

import { ask as request } from "./api.js";
import { ask, field, reasonField } from "./dialogs.js";
import { announce, h } from "./dom.js";
import { percent } from "./words.js";

const REFUSED = "The gate refused it";

/** Ask for the reason, and put a version in charge; what the gate refused is asked for once more. */
export async function promote(model, then) {
  const reason = reasonField();
  const skill = model.skill ?? {};
  const low = skill.direction_accuracy_low;
  const best = Math.max(0.5, skill.majority_baseline ?? 0, skill.last_sign_baseline ?? 0);
  const force = h("input", { type: "checkbox" });
  const insist = h("label.inline", { hidden: true }, force, "Promote it all the same, against the gate");
  const doubtful = Number.isFinite(low) && low <= best;
  const decided = await ask({
    title: `Promote ${model.version}`,
    words: "It answers from now on wherever the champion is asked, and running bots that follow take it over at their next candle.",
    fields: [
      doubtful && h("p.warn", null, `Its record does not show more than a baseline: at least ${percent(low)} right, the best baseline ${percent(best)}.`),
      field("Reason", reason, "kept in the ledger with the name of your token"),
      insist,
    ],
    confirm: "Promote",
    work: async () => {
      const body = { timeframe: model.timeframe, version: model.version, reason: reason.value.trim(), force: force.checked };
      try {
        return await request(`${path(model)}/promote`, { method: "POST", body });
      } catch (problem) {
        if (problem.status === 409 && problem.title === REFUSED) {
          insist.hidden = false;
          problem.detail = problem.detail.replace(/; to promote it all the same, send force: true$/, "");
        }
        throw problem;
      }
    },
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

/** Why a champion cannot be rolled back, of the versions beside it; null where it can. */
export function noWayBack(champion, versions) {
  const before = versions.some((each) => each.status === "superseded" && ["symbol", "timeframe", "type"].every((name) => each[name] === champion[name]));
  return before ? null : "No version served before this one: there is none to go back to.";
}

function path(model) {
  return `/api/models/${encodeURIComponent(model.symbol)}/${encodeURIComponent(model.type)}`;
}
