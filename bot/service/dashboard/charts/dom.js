/**
 * What the charts have in common on the page: elements, hidden tables, and redrawing when the size or the theme changes.
 *
 * Text goes in as text nodes and colours come from the style sheet, so that a strict content policy holds.
 */

const SVG = "http://www.w3.org/2000/svg";
const COLOURS = ["ink", "muted", "line", "panel", "accent", "up", "down", "band", "warn"];
const DARK = "(prefers-color-scheme: dark)";
let numbered = 0;

/**
 * Return a new HTML element with attributes (null ones are left out) and children; strings become text.
 * @param {string} tag
 * @param {Record<string, unknown>} [attributes]
 * @param {...(Node|string)} children
 * @returns {HTMLElement}
 */
export function html(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/**
 * Return a new SVG element, as `html` does.
 * @param {string} tag
 * @param {Record<string, unknown>} [attributes]
 * @param {...(Node|string)} children
 * @returns {SVGElement}
 */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) made.setAttribute(name, String(value));
  }
  made.append(...children);
  return made;
}

/**
 * Return an id that no other element of the page has.
 * @param {string} word
 */
export function freshId(word) {
  numbered += 1;
  return `chart-${word}-${numbered}`;
}

/**
 * Return a table that is read aloud but not seen.
 * @param {string} caption
 * @param {string[]} head
 * @param {string[][]} rows
 */
export function hiddenTable(caption, head, rows) {
  const line = (tag, cells) => html("tr", {}, ...cells.map((cell) => html(tag, tag === "th" ? { scope: "col" } : {}, cell)));
  const table = html(
    "table",
    {},
    html("caption", {}, caption),
    html("thead", {}, line("th", head)),
    html("tbody", {}, ...rows.map((cells) => line("td", cells))),
  );
  return html("div", { class: "chart-hidden" }, table); // a table itself is never narrower than its text
}

/**
 * Return the colours of the theme as a canvas understands them, by name, and the font of the element.
 * @param {HTMLElement} element One with the class `chart`.
 * @returns {Record<string, string>}
 */
export function themeOf(element) {
  const probe = html("span", { class: "chart-hidden", "aria-hidden": "true" });
  element.append(probe);
  const found = {};
  for (const name of COLOURS) {
    probe.style.color = `var(--chart-${name})`; // resolved by the browser: a custom property may hold any expression
    found[name] = getComputedStyle(probe).color;
  }
  found.font = getComputedStyle(element).fontFamily;
  probe.remove();
  return found;
}

/**
 * Call `draw` once a frame at most: when asked, and when the element's size or the theme changes.
 * @param {HTMLElement} element
 * @param {(themeChanged: boolean) => void} draw
 * @returns {{ask: () => void, stop: () => void}}
 */
export function redrawing(element, draw) {
  let frame = 0;
  let themed = true;
  const ask = () => {
    if (frame !== 0) return;
    frame = requestAnimationFrame(() => {
      frame = 0;
      const changed = themed;
      themed = false;
      draw(changed);
    });
  };
  const theme = () => {
    themed = true;
    ask();
  };
  const sizes = new ResizeObserver(ask);
  sizes.observe(element);
  const roots = new MutationObserver(theme);
  roots.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme", "class"] });
  const preference = matchMedia(DARK);
  preference.addEventListener("change", theme);
  ask();
  const stop = () => {
    cancelAnimationFrame(frame);
    frame = -1; // nothing is drawn any more
    sizes.disconnect();
    roots.disconnect();
    preference.removeEventListener("change", theme);
  };
  return { ask, stop };
}

/**
 * Put a chart's parts into an element; the returned function takes them and the classes out again.
 * @param {HTMLElement} element
 * @param {string} kind
 * @param {...Node} parts
 * @returns {() => void}
 */
export function mounted(element, kind, ...parts) {
  const names = ["chart", `chart-${kind}`];
  element.classList.add(...names);
  element.replaceChildren(...parts);
  return () => {
    element.classList.remove(...names);
    element.replaceChildren();
  };
}
