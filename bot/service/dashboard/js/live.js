/** Live: every bot that runs or ran, as it says itself, updated by the server's events. */

import { ask, follow } from "./api.js";
import { announce, fill, h, sleep } from "./dom.js";
import { bot, stateChip } from "./bot.js";
import { empty, failure, load } from "./parts.js";
import { count, number, signed } from "./words.js";

const REST_MS = 2_000;

/** Show the part. */
export async function show(root, view) {
  await load(root, view.signal, () => ask("/api/live", { signal: view.signal }), (bots) => live(view, bots));
}

function live(view, first) {
  const bots = new Map(first.map((each) => [each.name, each]));
  const state = h("span.muted.small", { "data-stream": "" }, "connecting…");
  const list = h("ul.bots", { "aria-label": "Bots" });
  const detail = h("div.stack");
  const grid = h("div.grid.list", null, list, detail);
  const nothing = empty("No bot runs or ran in this home",
    "A bot trades on paper unless its config says otherwise; here is what it does and why.",
    "bot live configs/ml_basic_synth.yaml");
  let chosen = view.choices.get("bot");
  let reading = null;

  function draw() {
    const names = [...bots.keys()];
    if (!bots.has(chosen)) chosen = names.find((name) => bots.get(name).running) ?? names[0];
    const focused = list.contains(document.activeElement);
    fill(list, names.map((name) => h("li", null, entry(bots.get(name), name === chosen, () => choose(name)))));
    if (focused) list.querySelector('[aria-pressed="true"]')?.focus();
    grid.hidden = !names.length;
    nothing.hidden = names.length > 0;
  }

  function choose(name) {
    chosen = name;
    view.remember({ bot: name });
    draw();
    open();
  }

  /** Read the chosen bot in full, and show it in place of the one before. */
  async function open() {
    if (!chosen) return;
    const name = chosen;
    if (bots.get(name).problem) {
      fill(detail, failure({ title: "What this bot said cannot be read", detail: bots.get(name).problem }));
      return;
    }
    await load(detail, view.signal, () => read(name), (found) => bot(found.bot, found.decisions, view.signal));
  }

  function read(name) {
    const path = `/api/live/${encodeURIComponent(name)}`;
    return Promise.all([ask(path, { signal: view.signal }), ask(`${path}/decisions`, { query: { limit: 50 }, signal: view.signal })])
      .then(([found, decisions]) => ({ bot: found, decisions }));
  }

  /** What is new about the chosen bot: read again, but not with every word that it says. */
  function again() {
    reading ??= (async () => {
      await sleep(REST_MS, view.signal);
      const name = chosen;
      const found = await read(name).catch(() => null);
      if (found && name === chosen && !view.signal.aborted) detail.firstChild?.renew?.(found.bot, found.decisions);
      reading = null;
    })();
  }

  draw();
  open();
  follow("/api/live/events", {
    signal: view.signal,
    onState: (name) => {
      fill(state, { connected: "updated as it happens", waiting: "the stream broke off: trying again…", ended: "no more updates" }[name]);
      if (name === "waiting") announce("The stream of updates broke off");
    },
    onEvent: (_, row) => {
      const before = bots.get(row.name);
      bots.set(row.name, row);
      draw();
      if (before && before.running !== row.running) announce(`${row.name} ${row.running ? "runs" : "stopped"}`);
      if (!before && bots.size === 1) open();
      else if (row.name === chosen) again();
    },
  });
  return [h("div.bar", null, h("h1", null, "Live"), state), nothing, grid];
}

function entry(row, pressed, onClick) {
  return h("button", { type: "button", "aria-pressed": String(pressed), onClick },
    h("span.row.between", null, h("strong", null, row.name), stateChip(row)),
    row.problem
      ? h("span.small.down", null, "cannot be read")
      : h("span.row.between.small.muted", null, `${row.mode} · ${row.symbols.map((each) => each.symbol).join(", ")} ${row.timeframe}`,
        h("span", null, `${number(row.value)} (${signed(row.value / row.initial_value - 1)})`)),
    row.protections?.length > 0 && h("span.small.warn", null, `${count(row.protections.length)} protection${row.protections.length > 1 ? "s" : ""} in force`));
}
