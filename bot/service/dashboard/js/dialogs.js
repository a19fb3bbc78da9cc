/** Questions before something is changed. */

import { fill, freshId, h } from "./dom.js";

/**
 * Ask in a dialog; the work is done while it is open, so that a refusal is read where it was asked for.
 * @param {{title: string, words?: string, fields: HTMLElement[], confirm: string, work: function(): Promise<*>}} options
 * @returns {Promise<*>} What work returned, or null where the person went back.
 */
export function ask({ title, words, fields, confirm, work }) {
  return new Promise((resolve) => {
    const id = freshId("dialog");
    const problem = h("p.field-error", { role: "alert" });
    const done = h("button.main", { type: "submit" }, confirm);
    const back = h("button", { type: "button", onClick: () => box.close() }, "Back");
    const form = h("form", { novalidate: true, onSubmit: submit }, h("h2", { id }, title), words && h("p.muted", null, words), fields, problem, h("div.row", null, back, done));
    const box = h("dialog", { "aria-labelledby": id }, form);
    let result = null;
    const leave = () => box.close(); // the part that asked is gone
    box.addEventListener("close", () => {
      window.removeEventListener("hashchange", leave);
      box.remove();
      resolve(result);
    });

    async function submit(event) {
      event.preventDefault();
      const wrong = form.querySelector(":invalid");
      if (wrong) {
        fill(problem, wrong.dataset.wrong ?? wrong.validationMessage);
        wrong.focus();
        return;
      }
      fill(problem);
      done.disabled = true;
      try {
        result = await work();
        box.close();
      } catch (error) {
        fill(problem, [error.title, error.detail].filter(Boolean).join(": ") || error.message);
      } finally {
        done.disabled = false;
      }
    }

    window.addEventListener("hashchange", leave);
    document.body.append(box);
    box.showModal();
    form.querySelector("input, textarea, select")?.focus();
  });
}

/** A field with a label. */
export function field(label, control, hint) {
  return h("label", null, label, control, hint && h("span.small", null, hint));
}

/** The field for the reason that the ledger keeps. */
export function reasonField() {
  return h("textarea", {
    required: true, minlength: 3, maxlength: 500, "data-wrong": "Give a reason of at least 3 characters: the ledger keeps it.",
  });
}
