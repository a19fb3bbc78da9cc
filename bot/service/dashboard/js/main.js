/** The frame: who is logged in, which part is shown, and the way between them by the address behind "#". */

import { writePercentSign } from "../charts/scale.js";
import * as accuracy from "./accuracy.js";
import { ask, refused } from "./api.js";
import { announce, fill, h } from "./dom.js";
import * as jobs from "./jobs.js";
import * as live from "./live.js";
import { login } from "./login.js";
import * as market from "./market.js";
import * as models from "./models.js";
import { failure } from "./parts.js";
import * as pipeline from "./pipeline.js";
import * as runs from "./runs.js";
import { keep, session, token } from "./session.js";
import { themeSwitch } from "./theme.js";
import { renewAges } from "./words.js";

const PARTS = {
  market: ["Market", market],
  accuracy: ["Accuracy", accuracy],
  models: ["Models", models],
  live: ["Live", live],
  runs: ["Runs", runs],
  jobs: ["Jobs", jobs],
  pipeline: ["Pipeline", pipeline],
};

const RENEW_AGES_MS = 5_000;

const main = document.getElementById("main");
const nav = document.getElementById("parts");
const who = document.getElementById("who");
const logout = document.getElementById("logout");
let leaving = new AbortController();
let shown = null;

/** The part and its choices as the address has them: #/market?symbol=BTC_USDT. */
function place() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  return { name: Object.hasOwn(PARTS, path) ? path : "market", choices: new URLSearchParams(query ?? "") };
}

/** The address of a part. */
function address(name, choices = {}) {
  const query = new URLSearchParams(Object.entries(choices).filter(([, value]) => value !== null && value !== undefined && value !== ""));
  return `#/${name}${query.size ? `?${query}` : ""}`;
}

async function show() {
  if (!session.who) return;
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const { name, choices } = place();
  const [title, part] = PARTS[name];
  document.title = `${title} · mlbot`;
  for (const link of nav.children) {
    if (link.dataset.part === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const root = h("div.stack", { "data-part": name });
  fill(main, root);
  if (shown !== null && shown !== name) {
    main.focus({ preventScroll: true });
    window.scrollTo(0, 0);
    announce(title);
  }
  shown = name;
  const view = {
    signal, choices, address,
    /** Keep a choice in the address without a new start of the part. */
    remember: (kept) => history.replaceState(null, "", address(name, kept)),
    go: (to, kept) => { location.hash = address(to, kept); },
    again: show,
  };
  try {
    await part.show(root, view);
  } catch (error) {
    if (signal.aborted) return;
    console.error(error);
    fill(root, failure(error, show));
  }
}

async function enter(words) {
  leaving.abort();
  session.who = null;
  shown = null;
  nav.hidden = logout.hidden = true;
  fill(who);
  document.title = "mlbot";
  await login(main, words);
  start();
}

function start() {
  nav.hidden = logout.hidden = false;
  fill(who, session.who.name, session.mayWrite ? "" : " · may only read");
  announce(`Logged in as ${session.who.name}`);
  show();
}

fill(nav, Object.entries(PARTS).map(([name, [title]]) => h("a", { href: `#/${name}`, "data-part": name }, title)));
themeSwitch(document.getElementById("theme"));
writePercentSign(" %");
window.addEventListener("hashchange", show);
setInterval(renewAges, RENEW_AGES_MS);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
logout.addEventListener("click", () => {
  keep(null);
  enter("");
});
refused.addEventListener("refused", () => {
  if (!session.who) return;
  keep(null);
  enter("The server does not know this token any more. Log in again.");
});

async function begin() {
  if (!token()) return enter("");
  try {
    session.who = await ask("/api/token");
  } catch (error) {
    if (error.status === 401) {
      keep(null);
      return enter("The server does not know this token any more. Log in again.");
    }
    fill(main, failure(error, begin));
    return undefined;
  }
  return start();
}

begin();
