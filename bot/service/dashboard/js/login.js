/** The form that asks for a token. */

import { ask } from "./api.js";
import { fill, h } from "./dom.js";
import { keep, session } from "./session.js";
import { command } from "./parts.js";

/**
 * Ask for a token until one is right.
 * @param {HTMLElement} place
 * @param {string} [words] Why it is asked for again.
 * @returns {Promise<void>} Fulfilled when somebody is logged in.
 */
export function login(place, words = "") {
  return new Promise((resolve) => {
    const wrong = h("p.field-error", { role: "alert", id: "wrong-token" }, words);
    const input = h("input", {
      type: "password", name: "token", id: "token", autocomplete: "off", autocapitalize: "off", spellcheck: "false",
      required: true, "aria-describedby": "wrong-token",
    });
    const button = h("button.main", { type: "submit" }, "Log in");
    const form = h("form", { novalidate: true, onSubmit: submit },
      h("label", { for: "token" }, "Token"), input, wrong, button);

    async function submit(event) {
      event.preventDefault();
      const given = input.value.trim();
      if (!given) return say("Paste a token first.");
      button.disabled = true;
      fill(wrong);
      keep(given);
      try {
        session.who = await ask("/api/token");
        resolve();
      } catch (error) {
        keep(null);
        say(error.status === 401 ? "This token is wrong, or it was revoked." : [error.title, error.detail].filter(Boolean).join(": "));
      } finally {
        button.disabled = false;
      }
    }

    function say(text) {
      fill(wrong, text);
      input.setAttribute("aria-invalid", "true");
      input.select();
    }

    fill(place, h("section.panel.login", { "aria-labelledby": "login-title" },
      h("h1", { id: "login-title" }, "Log in"),
      h("p.muted", null, "The first start of bot serve showed a token. It is kept in this tab only."),
      form,
      h("details", null, h("summary", null, "No token at hand?"),
        h("div.stack.tight", null, h("p.muted.small", null, "This makes one that may only read:"), command("bot serve token create dashboard")))));
    input.focus();
  });
}
