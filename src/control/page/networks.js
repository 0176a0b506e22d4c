// Networks as boxes with their containers, and who sees whom: a container sees those of its own networks, and no others.

import { List, byId, copyable, el, plural } from "./dom.js";
import { get } from "./server.js";

// More changed networks than this are read all at once.
const ONE_BY_ONE = 8;

export class Networks {
  // By name: `{ revision, containers }` as /v1/containers has them.
  #read = new Map();
  #status = [];
  // By ID: `{ id, name, state, host, places: [{ network, addresses, names }] }`; `host` only if it is on another one.
  containers = new Map();
  #folded = new Set();
  #selected = null;
  #onlySeen = false;
  #list;
  #actions;
  #rows = new Map();

  // `actions.explain(container)` and `actions.queries(container)` are what can be done with a container.
  constructor(actions) {
    this.#actions = actions;
    this.#list = new List(byId("network-list"), (item) => this.#row(item), (item) => this.#activate(item));
    byId("find").addEventListener("input", () => this.#show());
  }

  // Takes the networks of a status, and reads what changed since the last one.
  async update(status) {
    this.#status = status.networks;
    const changed = status.networks.filter((network) => this.#read.get(network.name)?.revision !== network.revision);
    const names = new Set(status.networks.map((network) => network.name));
    const gone = [...this.#read.keys()].filter((name) => !names.has(name));
    gone.forEach((name) => this.#read.delete(name));
    if (changed.length > ONE_BY_ONE) {
      this.#take(await get("/v1/containers"));
    } else {
      for (const { name } of changed) this.#take(await get("/v1/containers", { network: name }).catch(() => null));
    }
    if (changed.length || gone.length) this.#index();
    this.#show();
  }

  #take(answer) {
    for (const network of answer?.networks ?? []) this.#read.set(network.network, network);
  }

  #index() {
    this.containers.clear();
    this.#rows.clear();
    for (const { network, containers } of this.#read.values()) {
      for (const { id, name, state, host, addresses, names } of containers) {
        const known = this.containers.get(id) ?? { id, name, state, host, places: [] };
        known.places.push({ network, addresses, names });
        this.containers.set(id, known);
      }
    }
    if (this.#selected && !this.containers.has(this.#selected.id)) this.#selected = null;
    if (this.#selected) this.#selected = this.containers.get(this.#selected.id);
  }

  // The containers that have a name, for the explain form's suggestions.
  called(text) {
    const found = [];
    for (const { name } of this.containers.values()) {
      if (name.includes(text) && !found.includes(name)) found.push(name);
      if (found.length === 20) break;
    }
    return found;
  }

  // True if one container alone has this name, so that the name is enough to say who is meant.
  isUnique(name) {
    let count = 0;
    for (const container of this.containers.values()) if (container.name === name) count++;
    return count === 1;
  }

  #sees(network) {
    return this.#selected.places.some((place) => place.network === network);
  }

  #show() {
    const wanted = byId("find").value.trim().toLowerCase();
    const items = [];
    const known = new Map();
    // The same object as before where nothing changed: its row then stays as it is.
    const push = (item) => {
      const before = this.#rows.get(item.key);
      const isSame = before && Object.keys(item).every((name) => item[name] === before[name]);
      const kept = isSame ? before : item;
      known.set(item.key, kept);
      items.push(kept);
    };
    for (const status of this.#status) {
      const { name } = status;
      const isDim = this.#selected !== null && !this.#sees(name);
      if (isDim && this.#onlySeen) continue;
      const isNamed = name.toLowerCase().includes(wanted);
      const all = this.#read.get(name)?.containers ?? [];
      const containers = isNamed ? all : all.filter((container) => fits(container, wanted));
      if (!isNamed && !containers.length) continue;
      const isFolded = this.#folded.has(name) && !wanted;
      const notListening = status.listeners.filter((listener) => !listener.listening).length;
      const about = [
        ...(notListening ? [`${plural(notListening, "listener")} failed`] : []),
        ...(status.internal ? ["internal"] : []),
        ...status.subnets,
        plural(status.containers, "container"),
      ].join(" · ");
      push({ key: `n ${name}`, kind: isFolded ? "shut" : "head", name, about, isFolded, isDim, isBad: notListening > 0, copy: name });
      if (isFolded) continue;
      containers.forEach((container, index) => {
        const kind = index === containers.length - 1 ? "last" : "line";
        const whole = this.containers.get(container.id);
        const isSelected = this.#selected?.id === container.id;
        const copy = container.names[0] ?? container.name;
        push({ key: `c ${name} ${container.id}`, kind, network: name, container, whole, isDim, isSelected, copy });
      });
      if (!containers.length) push({ key: `e ${name}`, kind: "last", isDim });
    }
    this.#rows = known;
    this.#list.set(items);
    if (!items.length) byId("network-list").dataset.empty = wanted ? "Nothing is called so." : "There are no networks yet.";
    else delete byId("network-list").dataset.empty;
    this.#bar();
  }

  #row(item) {
    const dim = item.isDim ? " dim" : "";
    if (item.kind === "head" || item.kind === "shut") {
      return el(
        "div",
        { class: `head ${item.kind}${dim}`, "aria-expanded": String(!item.isFolded) },
        el("span", { class: "fold", "aria-hidden": "true" }, item.isFolded ? "▸" : "▾"),
        el("strong", { class: "name", title: item.name }, item.name),
        el("span", { class: item.isBad ? "about bad" : "about", title: item.about }, item.about),
      );
    }
    if (!item.container) return el("div", { class: `line last empty${dim}` }, el("span", {}, "no containers"));
    const { name, state, host, addresses, names } = item.container;
    const others = item.whole.places.filter((place) => place.network !== item.network);
    return el(
      "div",
      { class: `line ${item.kind} ${state}${dim}${item.isSelected ? " selected" : ""}`, "aria-selected": String(item.isSelected) },
      el(
        "strong",
        { class: "name" },
        copyable(name, { class: "plain" }),
        host && el("span", { class: "about", title: `on ${host}` }, `on ${host}`),
        state !== "up" && el("span", { class: "state" }, state),
      ),
      el("span", { class: "address" }, ...addresses.slice(0, 2).map((address) => copyable(address))),
      el(
        "span",
        { class: "names" },
        ...names.filter((each) => each !== name).map((each) => copyable(each)),
        ...others.map(({ network }) => el("span", { class: "also" }, "also on ", this.#link(network))),
      ),
      el("span", { class: "sees" }, host ? "" : "sees"),
    );
  }

  // A network's name that leads to its box.
  #link(network) {
    const onclick = (event) => {
      event.stopPropagation();
      byId("find").value = "";
      this.#onlySeen = false;
      this.#show();
      this.#list.go(`n ${network}`);
    };
    return el("button", { type: "button", class: "link", onclick }, network);
  }

  #activate(item) {
    if (item.kind === "head" || item.kind === "shut") {
      if (!this.#folded.delete(item.name)) this.#folded.add(item.name);
    } else if (item.container) {
      this.select(item.isSelected ? null : item.whole);
    }
    this.#show();
  }

  // Shows whom a container sees.
  select(container) {
    this.#selected = container;
    if (!container) this.#onlySeen = false;
    this.#show();
  }

  // What is selected, with all its names, and whom it sees.
  #bar() {
    const bar = byId("selected");
    bar.hidden = !this.#selected;
    if (!this.#selected) return (bar.dataset.shown = "");
    const { id, name, host, places } = this.#selected;
    const seen = new Set(places.flatMap((place) => (this.#read.get(place.network)?.containers ?? []).map((each) => each.id)));
    seen.delete(id);
    const shown = JSON.stringify([this.#selected, seen.size, this.#onlySeen]);
    // Made anew only if it differs: it may have the focus.
    if (bar.dataset.shown === shown) return;
    bar.dataset.shown = shown;
    const networks = places.flatMap((place, index) => [index ? " and " : "", this.#link(place.network)]);
    const button = (text, onclick, attributes = {}) => el("button", { type: "button", onclick, ...attributes }, text);
    const parts = [
      el(
        "p",
        {},
        el("strong", { class: "name" }, name),
        host ? ` is on ${host}, on network ` : ` sees ${plural(seen.size, "other container")} on `,
        ...networks,
        ".",
      ),
      el("p", { class: "names" }, ...[...new Set(places.flatMap((place) => place.names))].map((each) => copyable(each))),
      id !== name && el("p", { class: "muted" }, "ID ", copyable(id, { class: "copy id" })),
      el(
        "p",
        { class: "actions" },
        // A container of another host asks the callsign there.
        !host && button("Explain a name", () => this.#actions.explain(this.#selected)),
        !host && button("Its queries", () => this.#actions.queries(this.#selected)),
        !host && button("Only these", () => {
          this.#onlySeen = !this.#onlySeen;
          this.#show();
        }, { "aria-pressed": String(this.#onlySeen) }),
        button("Close", () => this.select(null)),
      ),
    ];
    bar.replaceChildren(...parts.filter(Boolean));
  }
}

function fits({ id, name, names, addresses, state }, wanted) {
  return [id, name, state, ...names, ...addresses].some((text) => text.toLowerCase().includes(wanted));
}
