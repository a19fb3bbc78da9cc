/** The token of this tab: kept in sessionStorage, which ends with the tab, and nowhere else. */

const KEY = "token";
let kept = null;

function storage() {
  try {
    return window.sessionStorage;
  } catch {
    return null; // storage is off: the token lives as long as the page
  }
}

/** The token, or null. */
export function token() {
  return kept ?? storage()?.getItem(KEY) ?? null;
}

/** Keep a token, or with null forget it. */
export function keep(value) {
  kept = value;
  if (value === null) storage()?.removeItem(KEY);
  else storage()?.setItem(KEY, value);
}

/** Who is logged in: name and scope as the server told them, or null. */
export const session = {
  who: null,
  get mayWrite() {
    return this.who?.scope === "write";
  },
  get whyNot() {
    return `Needs a token of scope write; that of ${this.who?.name ?? "this tab"} may only read.`;
  },
};
