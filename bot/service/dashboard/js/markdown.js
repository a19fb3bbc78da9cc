/** The few forms of Markdown that model cards use, as elements; anything else stays text. */

import { h } from "./dom.js";
import { scrolling } from "./parts.js";
import { tidy } from "./words.js";

/** Turn Markdown into elements; headings begin one level below the page's. */
export function markdown(text) {
  const lines = text.split("\n");
  const found = [];
  let at = 0;
  while (at < lines.length) {
    const line = lines[at];
    if (!line.trim()) {
      at += 1;
    } else if (/^#{1,6} /.test(line)) {
      const [, marks, words] = /^(#{1,6}) (.*)$/.exec(line);
      found.push(h(`h${Math.min(4, marks.length + 1)}`, null, inline(words)));
      at += 1;
    } else if (line.startsWith("```")) {
      const end = lines.findIndex((each, i) => i > at && each.startsWith("```"));
      const last = end === -1 ? lines.length : end;
      found.push(scrolling("Code", h("pre", null, lines.slice(at + 1, last).join("\n"))));
      at = last + 1;
    } else if (line.startsWith("|")) {
      const last = after(lines, at, (each) => each.startsWith("|"));
      found.push(grid(lines.slice(at, last)));
      at = last;
    } else if (/^[-*] /.test(line)) {
      const last = after(lines, at, (each) => /^[-*] |^ {2,}\S/.test(each));
      found.push(h("ul", null, items(lines.slice(at, last)).map((each) => h("li", null, inline(each)))));
      at = last;
    } else {
      const last = after(lines, at, (each) => each.trim() && !/^(#{1,6} |```|\||[-*] )/.test(each));
      found.push(h("p", null, inline(lines.slice(at, last).join(" "))));
      at = Math.max(last, at + 1);
    }
  }
  return found;
}

function after(lines, from, belongs) {
  let at = from;
  while (at < lines.length && belongs(lines[at])) at += 1;
  return at;
}

function items(lines) {
  const found = [];
  for (const line of lines) {
    if (/^[-*] /.test(line)) found.push(line.slice(2));
    else found[found.length - 1] += ` ${line.trim()}`;
  }
  return found;
}

function grid(lines) {
  const rows = lines.map((line) => line.replace(/^\||\|\s*$/g, "").split("|").map((cell) => cell.trim()));
  const [head, ...rest] = rows;
  const body = rest.filter((row) => !row.every((cell) => /^:?-+:?$/.test(cell)));
  return scrolling(head.filter(Boolean).join(", "), h("table", null,
    h("thead", null, h("tr", null, head.map((cell) => (cell ? h("th", { scope: "col" }, inline(cell)) : h("td"))))),
    h("tbody", null, body.map((row) => h("tr", null, row.map((cell, i) => h(i ? "td" : "th", { scope: i ? null : "row" }, inline(cell))))))));
}

/** Bold and code; an address stays text. */
function inline(text) {
  return text.split(/(\*\*[^*]+\*\*|`[^`]+`)/).map((part) => {
    if (/^\*\*.+\*\*$/.test(part)) return h("strong", null, tidy(part.slice(2, -2)));
    if (/^`.+`$/.test(part)) return h("code", null, part.slice(1, -1));
    return tidy(part);
  });
}
