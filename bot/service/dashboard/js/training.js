/** The question for a training. */

import { ask as request } from "./api.js";
import { ask, field } from "./dialogs.js";
import { freshId, h } from "./dom.js";

const TYPES = ["basic", "direction", "multi_ohlc", "autoregressive", "risk", "volatility", "momentum"];

/**
 * Ask what to train, and have it trained in the background.
 * @param {{symbol?: string, timeframe?: string, exchange?: string, type?: string}} known What is chosen already.
 * @returns {Promise<Object|null>} The job, or null.
 */
export function trainDialog({ symbol = "", timeframe = "1h", exchange, type = "basic" }) {
  const list = freshId("types");
  const inputs = {
    symbol: h("input", { required: true, minlength: 2, maxlength: 32, value: symbol, placeholder: "BTC_USDT", "data-wrong": "Name a symbol, such as BTC_USDT." }),
    timeframe: h("input", { required: true, minlength: 2, maxlength: 8, value: timeframe, "data-wrong": "Name a timeframe, such as 1h." }),
    type: h("input", { required: true, minlength: 2, maxlength: 40, list, value: type, "data-wrong": "Name a family of models, such as basic." }),
    days: h("input", { type: "number", min: 1, max: 36500, step: "any", placeholder: "all there are", "data-wrong": "Days are 1 to 36,500; leave it empty for all there are." }),
    promote: h("input", { type: "checkbox", checked: true }),
  };
  return ask({
    title: "Train a model",
    words: "It is trained in the background and judged on candles that it had not seen. With few candles nothing can be shown: most trainings end without a promotion.",
    fields: [
      h("div.grid", null, field("Symbol", inputs.symbol), field("Timeframe", inputs.timeframe), field("Family", inputs.type),
        field("Days of history", inputs.days)),
      h("datalist", { id: list }, TYPES.map((value) => h("option", { value }))),
      h("label.inline", null, inputs.promote, "Promote it where it beats every baseline"),
    ],
    confirm: "Train",
    work: async () => {
      const days = inputs.days.value === "" ? null : Number(inputs.days.value);
      const body = {
        symbol: inputs.symbol.value.trim(), timeframe: inputs.timeframe.value.trim(), type: inputs.type.value.trim(),
        days_history: days, promote: inputs.promote.checked,
      };
      if (exchange && symbol === body.symbol) body.exchange = exchange;
      const found = await request("/api/models/train", { method: "POST", query: { wait: 0 }, body });
      if (found.id) return found;
      return (await request("/api/jobs", { query: { limit: 1 } }))[0] ?? null; // it was done within the wait
    },
  });
}
