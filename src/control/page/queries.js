// Queries as they come, and what failed in the last minute.

import { List, byId, el, plural } from "./dom.js";
import { Watch } from "./server.js";

// Queries that are kept, and shown at most.
const KEPT = 5000;
const SHOWN = 2000;
// How often what came is shown, milliseconds.
const TICK = 200;
const MINUTE = 60_000;
// Kinds of failures that are remembered.
const FAILURES = 500;

const CODES = { NXDOMAIN: "no such name", SERVFAIL: "failed", REFUSED: "refused", FORMERR: "malformed", NOTIMP: "not supported" };

// As the server has it: a stopped container is a failure, too.
const isFailed = (query) => query.rcode !== "NOERROR" || (query.rule === "N7" && !query.answers.length);

// What the client got, in words.
export function answerOf(query) {
  if (query.rcode === null) return "no reply";
  if (query.rcode !== "NOERROR") return CODES[query.rcode] ?? query.rcode;
  if (query.answers.length) return query.answers.join(", ");
  return query.rule === "N7" ? "stopped" : "empty";
}

// Who asked: the container, or the address.
export const whoOf = (query) => query.container ?? addressOf(query);

// The client's address, without its port.
export const addressOf = (query) => query.client.replace(/:\d+$/, "").replace(/^\[(.*)\]$/, "$1");

// In UTC, as `callsign watch` and the log have it.
function clock(time, digits) {
  const at = new Date(time);
  const two = (number) => String(number).padStart(2, "0");
  const text = `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}:${two(at.getUTCSeconds())}`;
  return digits ? `${text}.${Math.floor(at.getUTCMilliseconds() / 100)}` : text;
}

const milliseconds = (ms) => (ms < 0.01 ? "<0.01" : ms < 10 ? ms.toFixed(2) : Math.round(ms).toLocaleString("en")) + " ms";

export class Queries {
  #kept = [];
  #shown = [];
  // Those that came while the list must not move, or since it was last drawn.
  #coming = [];
  #number = 0;
  #dropped = 0;
  #tests = [];
  #isPaused = false;
  #list;
  #watch;
  #explain;
  #isConnected = false;
  #timer = null;

  constructor(explain) {
    this.#explain = explain;
    this.#list = new List(byId("query-list"), (item) => this.#row(item), (item) => explain(item.query));
    this.#connect();
    byId("filter").addEventListener("input", () => this.#refilter());
    byId("failed").addEventListener("click", () => this.toggleFailed());
    byId("pause").addEventListener("click", () => this.togglePause());
    byId("newer").addEventListener("click", () => {
      byId("query-list").parentElement.scrollTo({ top: 0 });
      byId("queries").scrollIntoView({ block: "nearest" });
      document.activeElement?.blur();
      this.#draw(true);
    });
    document.addEventListener("scroll", () => this.#soon(), { capture: true, passive: true });
    // Nobody looks: the server need not tell.
    document.addEventListener("visibilitychange", () => this.#switch());
    this.#refilter();
  }

  // Shows queries of this filter only.
  filter(text) {
    byId("filter").value = text;
    this.#refilter();
  }

  toggleFailed() {
    const button = byId("failed");
    button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
    // The server leaves the others out, so that they do not crowd out these.
    this.#watch.stop();
    this.#connect();
    this.#refilter();
  }

  togglePause() {
    this.#isPaused = !this.#isPaused;
    byId("pause").setAttribute("aria-pressed", String(this.#isPaused));
    byId("pause").textContent = this.#isPaused ? "Go on" : "Pause";
    this.#switch();
  }

  get #onlyFailed() {
    return byId("failed").getAttribute("aria-pressed") === "true";
  }

  #connect() {
    const note = (isConnected) => {
      this.#isConnected = isConnected;
      this.#flow();
    };
    this.#watch = new Watch(this.#onlyFailed ? { only: "failed" } : {}, (lines) => this.#take(lines), note);
    this.#switch();
  }

  #switch() {
    if (this.#isPaused || document.hidden) this.#watch.stop();
    else this.#watch.start();
    this.#flow();
  }

  #flow() {
    const dropped = this.#dropped ? ` · ${this.#dropped.toLocaleString("en")} came too fast to be shown` : "";
    const state = this.#isPaused ? "paused" : this.#isConnected ? "" : "connecting …";
    byId("flow").textContent = `${state}${dropped}`.replace(/^ · /, "");
    const list = byId("query-list");
    if (this.#shown.length) delete list.dataset.empty;
    else list.dataset.empty = byId("filter").value || this.#onlyFailed ? "No such query yet." : "No query yet.";
  }

  #take(lines) {
    for (const line of lines) {
      if (line.dropped) {
        this.#dropped += line.dropped;
        continue;
      }
      const item = { key: ++this.#number, kind: "line", query: line, copy: line.name };
      this.#kept.push(item);
      if (this.#fits(item)) this.#coming.push(item);
    }
    if (this.#kept.length > 2 * KEPT) this.#kept.splice(0, this.#kept.length - KEPT);
    if (this.#coming.length > 2 * SHOWN) this.#coming.splice(0, this.#coming.length - SHOWN);
    this.#soon();
  }

  #soon() {
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      this.#draw(false);
    }, TICK);
  }

  // Puts the new ones on top; but not while somebody reads further down or moves in the list.
  #draw(always) {
    if (!this.#coming.length && !always) return this.#flow();
    const list = byId("query-list");
    const isAtTop = list.getBoundingClientRect().top >= list.parentElement.getBoundingClientRect().top - 2;
    const isPageAtTop = list.getBoundingClientRect().top > 0;
    const isHeld = !always && (!isAtTop || !isPageAtTop || this.#list.hasFocus) && this.#shown.length > 0;
    if (!isHeld && this.#coming.length) {
      this.#shown = [...this.#coming.reverse(), ...this.#shown].slice(0, SHOWN);
      this.#coming = [];
      this.#list.set(this.#shown);
    }
    const newer = byId("newer");
    newer.hidden = !this.#coming.length;
    newer.textContent = `▲ ${plural(this.#coming.length, "newer query").replace("querys", "queries")}`;
    this.#flow();
  }

  #refilter() {
    const terms = byId("filter").value.toLowerCase().split(/\s+/).filter((term) => term && term !== "-");
    this.#tests = terms.map((term) => (term.startsWith("-") ? [term.slice(1), false] : [term, true]));
    this.#coming = [];
    this.#shown = this.#kept.filter((item) => this.#fits(item)).slice(-SHOWN).reverse();
    this.#list.set(this.#shown);
    this.#draw(true);
  }

  #fits(item) {
    if (this.#onlyFailed && !isFailed(item.query)) return false;
    if (!this.#tests.length) return true;
    item.text ??= textOf(item.query);
    return this.#tests.every(([term, isIn]) => item.text.includes(term) === isIn);
  }

  #row({ query }) {
    const answer = answerOf(query);
    const isBad = isFailed(query) || answer === "stopped";
    const upstream = query.upstream ? ` (${query.upstream})` : "";
    const onclick = (event) => {
      event.stopPropagation();
      this.#explain(query);
    };
    return el(
      "div",
      { class: "query" },
      el("time", { datetime: query.time, title: query.time }, clock(query.time, true)),
      el("span", { class: "who", title: `${whoOf(query)} (${query.client}) at network ${query.network}` }, whoOf(query)),
      el("span", { class: "asked", title: `${query.name} ${query.type}` }, el("bdi", {}, query.name || "?"), ` ${query.type}`),
      el("span", { class: isBad ? "answer bad" : answer === "empty" ? "answer muted" : "answer", title: answer }, answer),
      el("span", { class: "why", title: `${query.why}${upstream} · rule ${query.rule}` }, query.why, upstream),
      el("span", { class: "ms" }, milliseconds(query.ms)),
      el("button", { type: "button", class: "link", onclick }, "why?"),
    );
  }
}

function textOf(query) {
  const words = [query.network, query.container, query.client, query.name, query.type, query.rcode, answerOf(query)];
  words.push(query.why, query.from, query.upstream, query.transport);
  if (isFailed(query)) words.push("failed");
  if (["upstream", "cache", "stale"].includes(query.from)) words.push("forwarded");
  return words.filter(Boolean).join(" ").toLowerCase();
}

// What failed in the last minute, alike ones together, also while the live queries are paused: a watch of its own.
export class Failures {
  #all = new Map();
  since = new Date();

  constructor(changed) {
    const take = (lines) => {
      for (const query of lines) if (!query.dropped) this.#add(query);
      changed();
    };
    new Watch({ only: "failed" }, take).start();
  }

  #add(query) {
    const key = JSON.stringify([query.network, whoOf(query), query.name, query.rcode]);
    const known = this.#all.get(key) ?? { times: [] };
    this.#all.delete(key);
    this.#all.set(key, { key, query, times: [...known.times.slice(-98), Date.now()] });
    if (this.#all.size > FAILURES) this.#all.delete(this.#all.keys().next().value);
  }

  // The last minute's, those that the server failed first: `{ key, query, count }`.
  get recent() {
    const from = Date.now() - MINUTE;
    const recent = [];
    for (const [key, { query, times }] of [...this.#all]) {
      const count = times.filter((time) => time > from).length;
      if (count) recent.push({ key, query, count });
      else this.#all.delete(key);
    }
    const weight = ({ query }) => (query.rcode === "NXDOMAIN" ? 0 : 1);
    return recent.reverse().sort((a, b) => weight(b) - weight(a) || b.count - a.count);
  }

  get sinceText() {
    return clock(this.since, false);
  }
}
