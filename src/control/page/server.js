// What the server is asked for: the read paths of the control socket (docs/openapi.json).

// A document.
export async function get(path, parameters = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value));
  const response = await fetch(`${path}?${query}`, { cache: "no-store" });
  const body = await response.text();
  let document;
  try {
    document = JSON.parse(body);
  } catch {
    throw new Error(body.trim() || `the server says ${response.status}`);
  }
  if (!response.ok) throw new Error(document.error);
  return document;
}

// Queries as they come. `take(lines)` gets what came: queries, and how many were dropped, as `/v1/watch` writes them.
// `note(true)` once it is on, `note(false, why)` when it broke off; it is tried again until it is stopped.
export class Watch {
  #abort = null;
  #parameters;
  #take;
  #note;

  constructor(parameters, take, note = () => {}) {
    this.#parameters = new URLSearchParams(parameters);
    this.#take = take;
    this.#note = note;
  }

  get isOn() {
    return this.#abort !== null;
  }

  start() {
    if (this.#abort) return;
    this.#abort = new AbortController();
    this.#run(this.#abort.signal);
  }

  stop() {
    this.#abort?.abort();
    this.#abort = null;
  }

  async #run(signal) {
    for (let pause = 500; !signal.aborted; pause = Math.min(pause * 2, 10_000)) {
      let why = "the server ended it";
      try {
        const response = await fetch(`/v1/watch?${this.#parameters}`, { signal, cache: "no-store" });
        if (!response.ok) throw new Error((await response.json()).error);
        this.#note(true);
        pause = 500;
        await this.#read(response.body.pipeThrough(new TextDecoderStream()), signal);
      } catch (error) {
        why = error.message;
      }
      if (signal.aborted) return;
      this.#note(false, why);
      await new Promise((done) => setTimeout(done, pause));
    }
  }

  async #read(stream, signal) {
    let rest = "";
    for (const reader = stream.getReader(); ; ) {
      const { value, done } = await reader.read();
      if (done || signal.aborted) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      if (lines.length) this.#take(lines.map((line) => JSON.parse(line)));
    }
  }
}
