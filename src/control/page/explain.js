// Why a container gets its answer: the server's explanation (`callsign explain`), for a form and for each query.

import { byId, copyable, el } from "./dom.js";
import { get } from "./server.js";

export class Explain {
  #networks;
  #network = null;
  #number = 0;

  constructor(networks) {
    this.#networks = networks;
    const form = byId("question");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#run();
    });
    // Another client is asked for by hand: where it is, the server knows.
    form.elements.from.addEventListener("input", ({ target }) => {
      this.#network = null;
      byId("containers").replaceChildren(...networks.called(target.value).map((name) => el("option", { value: name })));
    });
  }

  // Explains a query to a client, by the address that it came from.
  query({ name, type, network }, address, container) {
    const fields = byId("question").elements;
    fields.name.value = name;
    if (![...fields.type.options].some((option) => option.value === type)) fields.type.append(el("option", {}, type));
    fields.type.value = type;
    fields.from.value = container && this.#networks.isUnique(container) ? container : address;
    this.#network = network;
    this.#run();
  }

  // Asks for a name, from a container.
  from(container) {
    const fields = byId("question").elements;
    fields.from.value = this.#networks.isUnique(container.name) ? container.name : container.id;
    this.#network = null;
    fields.name.value = "";
    this.focus();
  }

  focus() {
    const fields = byId("question").elements;
    (fields.from.value ? fields.name : fields.from).focus();
  }

  async #run() {
    const fields = byId("question").elements;
    const number = ++this.#number;
    const question = { name: fields.name.value.trim(), from: fields.from.value.trim(), type: fields.type.value };
    const parameters = { ...question, network: this.#network, ask: fields.ask.checked ? "yes" : "" };
    const output = byId("explanation");
    output.replaceChildren(el("p", { class: "card muted" }, "…"));
    let shown;
    try {
      shown = explanation(await get("/v1/explain", parameters));
    } catch (error) {
      shown = el("div", { class: "card bad" }, el("p", {}, error.message));
    }
    if (number !== this.#number) return;
    output.replaceChildren(shown);
    output.focus({ preventScroll: true });
    output.scrollIntoView({ block: "nearest" });
  }
}

function explanation(explained) {
  const { technical } = explained;
  const lines = [
    ["rule", technical.rule],
    ["listener", `${technical.listener} of network ${technical.network}`],
    ["client", `${explained.client.address}: ${technical.client}`],
    ["sees", explained.client.networks.join(", ")],
    ...technical.searched.map((searched) => [`searched ${searched.network}`, searched.text]),
    ["decision", technical.decision],
    ...(technical.forward ? [["forwarded", `${technical.forward.name}: ${technical.forward.by}: ${technical.forward.servers.join(", ")}`]] : []),
    ...technical.answers.map((record) => ["answer", record]),
    ...technical.errors.map((error) => ["error", error]),
  ];
  const said = explained.upstream;
  if (said) lines.push(["upstream says", [said.rcode, ...said.answers, said.error, `${said.ms} ms`].filter(Boolean).join(" · ")]);
  return el(
    "div",
    { class: `card ${looks(explained)}`, "data-result": explained.result },
    el("h3", {}, explained.conclusion),
    explained.cause && el("p", {}, explained.cause),
    ...explained.advice.map(advice),
    el(
      "details",
      {},
      el("summary", {}, "For those who know DNS"),
      el("dl", {}, ...lines.flatMap(([term, text]) => [el("dt", {}, term), el("dd", {}, text)])),
    ),
  );
}

// How good the news is.
function looks({ result, advice }) {
  if (["answered", "held"].includes(result) || (result === "forwarded" && !advice.length)) return "good";
  return ["forwarded", "no_such_record"].includes(result) ? "warn" : "bad";
}

// A line of advice; a command in it is copied by a click.
function advice(text) {
  const [, before, command] = text.match(/^(.*?: )((?:docker|podman|callsign) .*)$/) ?? [];
  return command ? el("p", {}, before, copyable(command)) : el("p", {}, text);
}
