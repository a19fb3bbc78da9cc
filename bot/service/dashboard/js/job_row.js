/** One job as it goes on: what it is at, how far, what came of it, and a way to end it. */

import { ask, follow } from "./api.js";
import { announce, fill, h } from "./dom.js";
import { chip, failure, writeButton } from "./parts.js";
import { age, moment, percent } from "./words.js";

const KINDS = { queued: "", running: "main", completed: "good", failed: "bad", cancelled: "watch" };

/** Whether a job has come to its end. */
export function isDone(job) {
  return !["queued", "running"].includes(job.status);
}

/** What a job is for, in words. */
export function jobTitle(job) {
  const { symbol, timeframe, type } = job.request;
  const what = job.kind === "train" ? "Train" : "Predict";
  return [what, symbol, timeframe, type].filter(Boolean).join(" ");
}

/**
 * Show a job and follow it to its end.
 * @param {Object} first The job as it is known.
 * @param {AbortSignal} signal
 * @param {{watch?: boolean, onDone?: function(Object): void, onClose?: function(): void}} [options]
 * @returns {HTMLElement & {update: function(Object): void}}
 */
export function jobRow(first, signal, { watch = true, onDone, onClose } = {}) {
  let job = first;
  const place = h("article.panel", { "data-job": job.id, "aria-label": jobTitle(job) });
  place.update = (newer) => {
    const ended = !isDone(job) && isDone(newer);
    job = newer;
    draw();
    if (ended) {
      announce(`${jobTitle(job)}: ${job.status}`);
      onDone?.(job);
    }
  };
  draw();
  if (watch && !isDone(job)) {
    follow(`/api/jobs/${job.id}/events`, {
      signal,
      onEvent: (_, newer) => {
        place.update(newer);
        return isDone(newer);
      },
    });
  }
  return place;

  function draw() {
    const open = place.querySelector("details")?.open ?? false;
    const held = place.contains(document.activeElement) ? document.activeElement.textContent : null;
    fill(place,
      h("header", null, h("h3", null, jobTitle(job)), chip(job.status, KINDS[job.status]),
        h("span.muted", null, times(job)),
        !isDone(job) && writeButton("Cancel", cancel, { name: `Cancel: ${jobTitle(job)}` }),
        isDone(job) && onClose && h("button.quiet", { type: "button", onClick: onClose }, "Close")),
      !isDone(job) && [
        h("progress", { max: 1, value: job.progress, "aria-label": `Progress of ${jobTitle(job)}` }),
        h("p.small", null, `${percent(job.progress, 0)} · ${job.message || (job.status === "queued" ? "waits for a free place" : "begins")}`),
      ],
      job.error && h("p.down", null, job.error),
      job.status === "completed" && outcome(job),
      h("details", { open }, h("summary", null, "What was asked"), asked(job)));
    if (held) [...place.querySelectorAll("button, summary")].find((each) => each.textContent === held)?.focus();
  }

  async function cancel() {
    try {
      place.update(await ask(`/api/jobs/${job.id}/cancel`, { method: "POST" }));
    } catch (error) {
      place.append(failure(error));
    }
  }
}

function times(job) {
  const parts = [`asked for ${moment(job.created_at, true)}`];
  if (job.started_at && job.ended_at) parts.push(`took ${age((Date.parse(job.ended_at) - Date.parse(job.started_at)) / 1000)}`);
  if (job.attempts > 1) parts.push(`begun ${job.attempts} times`);
  return parts.join(" · ");
}

function outcome(job) {
  const found = job.result ?? {};
  if (job.kind !== "train") {
    const { symbol, timeframe } = job.request;
    return h("p", null, `${found.status === "ok" ? `Predicted: ${found.direction ?? "a path"}` : `Answered: ${found.status ?? "done"}`}. `,
      h("a", { href: `#/market?${new URLSearchParams({ symbol, timeframe })}` }, "Look at it"));
  }
  const version = found.version ?? found.model?.version;
  const promoted = found.champion ?? found.promoted ?? found.gate?.promoted;
  return h("p", null, version ? `Made ${version}` : "Trained", promoted === true ? ", and promoted. " : promoted === false ? ", not promoted: it did not beat every baseline. " : ". ",
    version && h("a", { href: `#/models?${new URLSearchParams({ symbol: found.symbol ?? job.request.symbol, type: found.type ?? job.request.type, timeframe: found.timeframe ?? job.request.timeframe, version })}` }, "Its card"));
}

function asked(job) {
  const rows = Object.entries(job.request).filter(([, value]) => value !== null && !(Array.isArray(value) && !value.length) && !(typeof value === "object" && !Object.keys(value).length));
  return h("dl.facts", null, [...rows, ["id", job.id]].map(([name, value]) =>
    [h("dt", null, name.replaceAll("_", " ")), h("dd", null, typeof value === "object" ? JSON.stringify(value) : String(value))]));
}
