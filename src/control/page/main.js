// The page as a whole: what it asks the server for, and when.

import { byId, copyable, el, plural, svg } from "./dom.js";
import { Explain } from "./explain.js";
import { Networks } from "./networks.js";
import { Failures, Queries, addressOf, answerOf, whoOf } from "./queries.js";
import { get } from "./server.js";

// How often the state is asked for, milliseconds.
const POLL = 2000;
// How many states are remembered: a minute's.
const REMEMBERED = 30;
// Failures that are shown, and on a phone.
const LISTED = 5;
const LISTED_ON_PHONE = 2;

const networks = new Networks({
  explain: (container) => {
    tab("explain");
    explain.from(container);
  },
  queries: (container) => {
    tab("queries");
    queries.filter(container.name);
  },
});
const explain = new Explain(networks);
const why = (query) => {
  tab("explain");
  explain.query(query, addressOf(query), query.container);
};
const queries = new Queries(why);
const failures = new Failures(() => attention());

let status = null;
let offline = null;
const history = [];

function tab(name) {
  document.body.dataset.tab = name;
  for (const button of document.querySelectorAll("nav button")) {
    button.setAttribute("aria-current", String(button.dataset.tab === name));
  }
  // Lists that were not to be seen are measured.
  dispatchEvent(new Event("resize"));
}

async function poll() {
  try {
    status = await get("/v1/status");
    offline = null;
    history.push(status);
    if (history.length > REMEMBERED) history.shift();
    await networks.update(status);
  } catch (error) {
    offline = error.message;
  }
  header();
  attention();
  upstreams();
}

async function keepPolling() {
  for (;;) {
    if (!document.hidden) await poll();
    await new Promise((done) => setTimeout(done, POLL));
  }
}

function header() {
  if (!status) return;
  const containers = networks.containers.size;
  const rate = hitRate();
  const figure = (value, what, lately) => el("div", {}, el("dd", {}, value), el("dt", {}, what, lately && el("span", { class: "lately" }, lately)));
  byId("figures").replaceChildren(
    figure(status.queries_per_second.toLocaleString("en", { maximumFractionDigits: status.queries_per_second < 10 ? 1 : 0 }), "queries/s"),
    figure(status.networks.length.toLocaleString("en"), status.networks.length === 1 ? "network" : "networks"),
    figure(containers.toLocaleString("en"), containers === 1 ? "container" : "containers"),
    figure(rate.text, "cache hits", rate.isRecent && ", last minute"),
  );
  byId("about").textContent = `${location.hostname} · up ${duration(status.uptime_seconds)} · ${status.version}`;
  byId("about").title = `${status.source.kind} ${status.source.path}, process ${status.pid}`;
}

// The cache's hit rate over the last minute, or since the start if nothing was forwarded lately.
function hitRate() {
  const count = ({ forwarding }) => {
    return [forwarding.hits, forwarding.hits + forwarding.misses + forwarding.coalesced];
  };
  const [now, before] = [count(status), count(history[0])];
  const isRecent = now[1] > before[1];
  const [hits, all] = isRecent ? [now[0] - before[0], now[1] - before[1]] : now;
  return { text: all ? `${Math.round((100 * hits) / all)} %` : "–", isRecent };
}

function duration(seconds) {
  const units = [[86_400, "day"], [3600, "hour"], [60, "minute"]];
  const [size, word] = units.find(([size]) => seconds >= size) ?? [1, "second"];
  return plural(Math.floor(seconds / size), word);
}

// What is wrong, and what failed lately: first of all.
function attention() {
  const problems = offline ? [`The server does not answer: ${offline}`] : (status?.problems ?? []);
  const recent = failures.recent;
  const listed = matchMedia("(max-width: 920px)").matches ? LISTED_ON_PHONE : LISTED;
  const cards = problems.map((problem) => el("p", { class: "card bad" }, capital(problem)));
  if (recent.length) {
    const more = recent.length - listed;
    const rows = recent.slice(0, listed).map(({ query, count }) => {
      const explained = el("button", { type: "button", class: "link", onclick: () => why(query) }, "why?");
      return el(
        "li",
        {},
        el("span", { class: "text" },
          el("strong", { class: "name" }, whoOf(query)), " asked for ", copyable(query.name || "?"), ` ${query.type}: `,
          el("span", { class: "bad" }, answerOf(query)), count > 1 ? `\u00a0×\u00a0${count}` : ""),
        explained,
      );
    });
    const show = () => {
      tab("queries");
      if (byId("failed").getAttribute("aria-pressed") !== "true") queries.toggleFailed();
    };
    cards.push(
      el("div", { class: "card warn" }, el("h3", {}, "Failed in the last minute"), el("ul", {}, ...rows),
        more > 0 && el("button", { type: "button", class: "link", onclick: show }, `and ${more} more`)),
    );
  }
  if (!cards.length && status) cards.push(el("p", { class: "quiet" }, `Nothing failed since ${failures.sinceText}.`));
  const section = byId("attention");
  const shown = JSON.stringify([problems, recent.slice(0, listed).map(({ key, count }) => [key, count]), recent.length, status === null]);
  // Made anew only if it says something else: it may have the focus.
  if (section.dataset.shown !== shown) {
    section.dataset.shown = shown;
    section.replaceChildren(...cards);
  }
  const count = problems.length;
  const health = byId("health");
  health.className = count ? "bad" : recent.length ? "warn" : "good";
  health.textContent = count ? `${plural(count, "problem")}` : !status ? "connecting …" : recent.length ? `${plural(recent.length, "name")} failed lately` : "all is well";
  document.title = count ? `(${count}) callsign` : "callsign";
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function upstreams() {
  if (!status) return;
  const rows = status.upstreams.map((upstream) => {
    const past = history.map((state) => state.upstreams.find(({ address }) => address === upstream.address)).filter(Boolean);
    const since = (what) => upstream[what] - (past[0]?.[what] ?? 0);
    const [asked, failed] = [since("queries"), since("failures") + since("timeouts")];
    const words = { up: "up", down: "down", unknown: "not known yet" };
    const ms = upstream.rtt_ms;
    const rtt = ms === null ? "" : ms < 1000 ? `${ms.toFixed(ms < 10 ? 1 : 0)} ms` : `${(ms / 1000).toFixed(1)} s`;
    const number = (count) => count.toLocaleString("en");
    const lately = !asked ? "not asked" : failed ? `${number(failed)} of ${number(asked)} failed` : `${number(asked)} asked`;
    return el(
      "div",
      { class: `upstream ${upstream.state}` },
      el("strong", { class: "name", title: upstream.address }, upstream.address),
      el("span", { class: "state" }, words[upstream.state] ?? upstream.state),
      el("span", { class: "rtt" }, rtt, sparkline(past.map(({ rtt_ms }) => rtt_ms))),
      el("span", { class: failed ? "lately bad" : "lately muted", title: "in the last minute; what got no answer counts as failed" }, lately),
    );
  });
  const { entries, bytes } = status.forwarding;
  const cache = `The cache has ${plural(entries, "answer")}, ${Math.ceil(bytes / 1024).toLocaleString("en")} KiB.`;
  byId("upstream-list").replaceChildren(
    ...(rows.length ? rows : [el("p", { class: "muted" }, "No upstream was asked yet.")]),
    el("p", { class: "muted cache" }, cache),
  );
}

function sparkline(values) {
  const known = values.filter((value) => value !== null);
  if (known.length < 2) return null;
  const most = 1.2 * Math.max(...known, 1);
  const right = REMEMBERED - values.length;
  const points = values.map((value, index) => value !== null && `${((right + index) * 60) / (REMEMBERED - 1)},${15 - (14 * value) / most}`);
  const line = svg("polyline", { points: points.filter(Boolean).join(" ") });
  return svg("svg", { viewBox: "0 0 60 16", class: "spark", "aria-hidden": "true" }, line);
}

const THEMES = { auto: "◐", light: "☀", dark: "☾" };

function theme(name) {
  document.documentElement.dataset.theme = name;
  byId("theme").textContent = THEMES[name];
  byId("theme").title = `Theme: ${name === "auto" ? "as the system" : name} (t)`;
}

function nextTheme() {
  const names = Object.keys(THEMES);
  const next = names[(names.indexOf(document.documentElement.dataset.theme) + 1) % names.length];
  localStorage.setItem("theme", next);
  theme(next);
}

function go(name, id) {
  tab(name);
  byId(id).focus();
  byId(id).select?.();
}

const KEYS = {
  "/": () => go("queries", "filter"),
  n: () => go("networks", "find"),
  e: () => {
    tab("explain");
    explain.focus();
  },
  f: () => queries.toggleFailed(),
  p: () => queries.togglePause(),
  t: nextTheme,
  "?": () => byId("keys").showModal(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("keys").open) return;
  const field = event.target.closest("input, select, textarea");
  if (event.key === "Escape") {
    if (field?.type === "search" && field.value) {
      field.value = "";
      field.dispatchEvent(new Event("input"));
    } else if (field) {
      field.blur();
    } else {
      networks.select(null);
    }
  } else if (!field && KEYS[event.key]) {
    event.preventDefault();
    KEYS[event.key]();
  }
});

byId("theme").addEventListener("click", nextTheme);
byId("help").addEventListener("click", KEYS["?"]);
for (const button of document.querySelectorAll("nav button")) button.addEventListener("click", () => tab(button.dataset.tab));
document.addEventListener("visibilitychange", () => document.hidden || poll());
theme(localStorage.getItem("theme") in THEMES ? localStorage.getItem("theme") : "auto");
tab("networks");
setInterval(attention, 5000);
keepPolling();
