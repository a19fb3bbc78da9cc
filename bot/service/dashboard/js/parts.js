/** What every part of the page is made of: states, tables, figures, buttons that write. */

import { announce, fill, freshId, h } from "./dom.js";
import { session } from "./session.js";

/** Grey lines while something is being read. */
export function skeleton(lines = 5) {
  return h("div.skeleton", { "aria-hidden": "true" }, Array.from({ length: lines }, () => h("i")));
}

/** A command with a button that copies it. */
export function command(text) {
  const button = h("button", { type: "button", "aria-label": `Copy the command ${text}` }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
      announce("Copied");
    } catch {
      button.textContent = "Select it";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  return h("div.command", null, h("code", { tabindex: "0" }, text), button);
}

/** There is nothing yet: what it would show, and what to run for it. */
export function empty(title, words, ...commands) {
  return h("div.state.empty", null, h("h2", null, title), h("p.muted", null, words), commands.map(command));
}

/** Something went wrong: the server's words, and a button that tries again. */
export function failure(problem, retry) {
  const again = retry && h("button", { type: "button", onClick: retry }, "Try again");
  const words = problem.detail || (problem.title ? "" : problem.message);
  return h("div.state.failed", { role: "alert" }, h("h2", null, problem.title ?? "The page has a fault"), words && h("p", null, words), again);
}

/**
 * Fill a place with what work returns: a skeleton meanwhile, the problem and a retry where it fails.
 * @param {HTMLElement} place
 * @param {AbortSignal} signal When it ends nothing is drawn any more.
 * @param {function(): Promise<*>} work
 * @param {function(*): (Node|Node[])} draw
 */
export async function load(place, signal, work, draw) {
  const heading = place.dataset.part && h("h1", null, document.title.split(" · ")[0]); // a whole part is never without one
  fill(place, heading, skeleton());
  place.setAttribute("aria-busy", "true");
  try {
    const found = await work();
    if (!signal.aborted) fill(place, draw(found));
  } catch (error) {
    if (signal.aborted) return;
    if (error.name !== "Problem") console.error(error);
    fill(place, heading, failure(error, () => load(place, signal, work, draw)));
  } finally {
    place.removeAttribute("aria-busy");
  }
}

/** A panel with a heading; beside it stand words, a button, or several of them. */
export function panel(title, words, ...children) {
  const id = freshId("panel");
  const beside = (Array.isArray(words) ? words : [words]).map((each) => (typeof each === "string" ? h("span.muted", null, each) : each));
  return h("section.panel", { "aria-labelledby": id }, h("header", null, h("h2", { id }, title), beside), children);
}

/**
 * A table that scrolls by itself where it is too wide.
 * @param {string} label What it holds.
 * @param {(string|{label: string, num?: boolean, class?: string})[]} columns
 * @param {(Node|string|number|null|{cell: *, class?: string})[][]} rows The first cell of a row is its heading.
 * @param {{rowClass?: function(number): string, stacks?: boolean}} [options] One that stacks is a list of small lists on a phone.
 */
export function table(label, columns, rows, { rowClass, stacks = false } = {}) {
  const heads = columns.map((column) => (typeof column === "string" ? { label: column } : column));
  const classes = heads.map((head) => [head.num && "num", head.class].filter(Boolean).join(" ") || null);
  const role = (name) => (stacks ? name : null); // a table that is drawn as blocks would lose its meaning
  const body = rows.map((row, at) => h("tr", { class: rowClass?.(at), role: role("row") },
    row.map((cell, i) => h(i === 0 ? "th" : "td", {
      scope: i === 0 ? "row" : null, class: classes[i], role: role(i === 0 ? "rowheader" : "cell"),
      "data-label": stacks && heads[i].label ? heads[i].label : null,
    }, cell))));
  return scrolling(label, h("table", { "aria-label": label, class: stacks ? "stacks" : null, role: role("table") },
    h("thead", { role: role("rowgroup") }, h("tr", { role: role("row") },
      heads.map((head, i) => (head.label ? h("th", { scope: "col", class: classes[i], role: role("columnheader") }, head.label) : h("td", { role: role("cell") }))))),
    h("tbody", { role: role("rowgroup") }, body)));
}

/** Something wide in a box that scrolls, also by keyboard. */
export function scrolling(label, wide) {
  return h("div.scroll", { tabindex: "0", role: "region", "aria-label": label }, wide);
}

/** Figures, each with what it must be held against: [[name, value, beside, class]]. */
export function figures(rows) {
  return h("dl.figures", null, rows.map(([name, value, beside, kind]) =>
    h("div", null, h("dt", null, name), h("dd", { class: kind }, value, beside && h("span.beside", null, beside)))));
}

/** Names and values in two columns. */
export function facts(rows) {
  return h("dl.facts", null, rows.filter(Boolean).map(([name, value]) => [h("dt", null, name), h("dd", null, value)]));
}

/** A word in a frame; kind is good, bad, watch, main or nothing. */
export function chip(text, kind = "") {
  return h("span.chip", { class: kind }, text);
}

/** A value, and below it what it must be held against. */
export function beside(value, words) {
  return [value, h("span.beside", null, words)];
}

/** A button that changes something: with a token that may only read, or for the reason `without`, it stays, does nothing and says why. */
export function writeButton(label, onClick, { main = false, name, without = null } = {}) {
  const whyNot = session.mayWrite ? without : session.whyNot;
  const allowed = whyNot === null;
  return h("button", {
    type: "button", class: main && allowed ? "main" : null, "aria-label": name,
    "aria-disabled": allowed ? null : "true", title: whyNot,
    onClick: (event) => (allowed ? onClick(event) : announce(whyNot)),
  }, label);
}

/** A choice with a label; options are [value, text]. */
export function choice(label, options, chosen, onChange) {
  const select = h("select", { onChange: () => onChange(select.value) },
    options.map(([value, text]) => h("option", { value, selected: value === chosen }, text)));
  return h("label", null, label, select);
}
