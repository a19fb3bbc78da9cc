/** Asking the server: answers as JSON, problems as errors with words, streams of events that come back by themselves. */

import { sleep } from "./dom.js";
import { token } from "./session.js";

const LONGEST_WAIT_MS = 30_000;
const FIRST_WAIT_MS = 1_000;

/** What went wrong, as the server tells it (RFC 9457), or that it does not answer. */
export class Problem extends Error {
  constructor(status, title, detail, document = {}) {
    super(detail || title);
    this.name = "Problem";
    this.status = status;
    this.title = title;
    this.detail = detail;
    this.document = document;
  }
}

/** Is told when the server refuses the token: revoked, or of another home. */
export const refused = new EventTarget();

/**
 * Ask for an address and return its document.
 * @param {string} path Below this host, such as /api/models.
 * @param {{method?: string, query?: Object, body?: Object, signal?: AbortSignal}} [options] Null values of the query are left out.
 * @returns {Promise<*>}
 */
export async function ask(path, options = {}) {
  const answer = await request(path, options);
  if (answer.status === 204) return null;
  return answer.json();
}

/**
 * Follow a stream of server-sent events until the signal ends it, or `onEvent` returns true.
 * @param {string} path
 * @param {{signal: AbortSignal, onEvent: function(string, *): (boolean|void), onState?: function(string, Problem=): void}} options
 *   The state is "connected", "waiting" before the next attempt, or "ended".
 */
export async function follow(path, { signal, onEvent, onState = () => {} }) {
  let wait = FIRST_WAIT_MS;
  while (!signal.aborted) {
    let problem;
    try {
      const answer = await request(path, { signal, accept: "text/event-stream" });
      onState("connected");
      wait = FIRST_WAIT_MS;
      if (await read(answer.body, onEvent)) return onState("ended");
    } catch (error) {
      if (signal.aborted) return undefined;
      if (error instanceof Problem && [401, 403, 404].includes(error.status)) return onState("ended", error);
      problem = error;
    }
    onState("waiting", problem);
    await sleep(wait * (0.75 + Math.random() / 2), signal);
    wait = Math.min(2 * wait, LONGEST_WAIT_MS);
  }
  return undefined;
}

async function request(path, { method = "GET", query, body, signal, accept = "application/json" }) {
  const address = new URL(path, location.origin);
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== null && value !== undefined && value !== "") address.searchParams.set(name, value);
  }
  const headers = { Accept: accept };
  const known = token();
  if (known) headers.Authorization = `Bearer ${known}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(address, {
      method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store", credentials: "omit", redirect: "error",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(0, "The server does not answer", "It may have been stopped. Start it again with: bot serve");
  }
  if (answer.ok) return answer;
  const problem = await told(answer);
  if (answer.status === 401) refused.dispatchEvent(new CustomEvent("refused", { detail: problem }));
  throw problem;
}

async function told(answer) {
  try {
    const document = await answer.json();
    return new Problem(answer.status, document.title ?? answer.statusText, document.detail ?? "", document);
  } catch {
    return new Problem(answer.status, answer.statusText || `Status ${answer.status}`, "");
  }
}

/** Read events off a body; true where the listener had enough. */
async function read(body, onEvent) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return false;
      rest += value;
      const blocks = rest.split(/\r?\n\r?\n/);
      rest = blocks.pop();
      for (const block of blocks) {
        const event = parse(block);
        if (event && onEvent(event.name, event.data)) return true;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parse(block) {
  let name = "message";
  const data = [];
  for (const line of block.split(/\r?\n/)) {
    if (line.startsWith("event:")) name = line.slice(6).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
  }
  return data.length ? { name, data: JSON.parse(data.join("\n")) } : null;
}
