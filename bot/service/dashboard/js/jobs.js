/** Jobs: what runs in the background, followed as it goes on. */

import { ask } from "./api.js";
import { fill, h, sleep } from "./dom.js";
import { isDone, jobRow } from "./job_row.js";
import { choice, empty, load, writeButton } from "./parts.js";
import { trainDialog } from "./training.js";

const FOLLOWED = 3; // a browser holds six connections to a host: some must be left for questions
const LOOK_AGAIN_MS = 4_000;
const STATES = [["", "all"], ["queued", "waiting"], ["running", "running"], ["completed", "completed"], ["failed", "failed"], ["cancelled", "cancelled"]];

/** Show the part. */
export async function show(root, view) {
  const status = view.choices.get("status") ?? "";
  const list = h("div.stack.tight");
  const rows = new Map();
  fill(root,
    h("div.bar", null, h("h1", null, "Jobs"),
      choice("Show", STATES, status, (value) => view.go("jobs", { status: value })),
      writeButton("Train a model", async () => {
        const job = await trainDialog({});
        if (job) put(job, true);
      })),
    list);
  await load(list, view.signal, () => ask("/api/jobs", { query: { status, limit: 50 }, signal: view.signal }), (jobs) => {
    if (!jobs.length) {
      return empty(status ? "No such jobs" : "No jobs yet",
        "Trainings and predictions that were asked for over the service are listed here, also after a restart of the server.",
        'curl -X POST -H "Authorization: Bearer $BOT_TOKEN" -H "Content-Type: application/json" \\\n'
        + `  -d '{"symbol": "BTC_USDT", "timeframe": "1h", "type": "basic"}' "${location.origin}/api/models/train?wait=0"`);
    }
    let followed = 0;
    return jobs.map((job) => made(job, !isDone(job) && followed++ < FOLLOWED));
  });
  while (!view.signal.aborted) {
    await sleep(LOOK_AGAIN_MS, view.signal);
    if (view.signal.aborted || document.hidden) continue;
    const jobs = await ask("/api/jobs", { query: { status, limit: 50 }, signal: view.signal }).catch(() => []);
    for (const job of jobs.reverse()) {
      if (rows.has(job.id)) rows.get(job.id).update(job);
      else if (!view.signal.aborted) put(job, false);
    }
  }

  function made(job, watch) {
    const row = jobRow(job, view.signal, { watch });
    rows.set(job.id, row);
    return row;
  }

  function put(job, watch) {
    list.querySelector(".state")?.remove();
    if (rows.has(job.id)) rows.get(job.id).update(job);
    else list.prepend(made(job, watch));
  }
}
