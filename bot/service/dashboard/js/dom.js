/** Building elements. Every text becomes a text node: nothing that a server says is ever read as HTML. */

/**
 * Make an element.
 * @param {string} tag Its name, with classes after dots: "p.muted.small".
 * @param {Object} [props] "on..." are listeners, booleans are attributes that are there or not, the rest are attributes.
 * @param {...(Node|string|number|null|undefined|false|Array)} children What is in it; null and false are left out.
 * @returns {HTMLElement}
 */
export function h(tag, props, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2).toLowerCase(), value);
    else if (key === "class") element.className = [element.className, value].filter(Boolean).join(" ");
    else if (key === "value") element.value = value;
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  element.append(...nodes(children));
  return element;
}

/** Flatten children into what append takes. */
export function nodes(children) {
  return children.flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false && child !== "")
    .map((child) => (child instanceof Node ? child : String(child)));
}

/** Put other content into an element. */
export function fill(element, ...children) {
  element.replaceChildren(...nodes(children));
  return element;
}

let numbered = 0;

/** Return an id that no other element has. */
export function freshId(prefix) {
  numbered += 1;
  return `${prefix}-${numbered}`;
}

/** Say something to people who hear the page. */
export function announce(text) {
  const place = document.getElementById("status");
  place.textContent = "";
  place.textContent = text;
}

/** Wait, unless the signal ends it. */
export function sleep(milliseconds, signal) {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const timer = setTimeout(done, milliseconds);
    function done() {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    }
    signal?.addEventListener("abort", done);
  });
}
