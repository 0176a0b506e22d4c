// Elements, lists of many rows, and the clipboard. Whatever comes from the server becomes text here, never markup.

// An element: `el("p", { class: "x", title: "y" }, "text", child)`. Strings among the children are text.
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") element.addEventListener("click", value);
    else if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child || child === 0));
  return element;
}

export function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export const byId = (id) => document.getElementById(id);

export const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

let toastTimer;
export function toast(text) {
  byId("toast").textContent = text;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => (byId("toast").textContent = ""), 2000);
}

// Copies a text. Pages that are not on loopback and not behind TLS have no clipboard API; there the old way works.
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const focused = document.activeElement;
    const area = el("textarea", { class: "offscreen", "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    focused?.focus({ preventScroll: true });
    if (!copied) return toast(`${text} could not be copied`);
  }
  toast(`copied ${text}`);
}

// A text that is copied by a click.
export function copyable(text, attributes = {}) {
  const onclick = (event) => {
    event.stopPropagation();
    copy(text);
  };
  return el("button", { type: "button", class: "copy", title: `copy ${text}`, onclick, ...attributes }, text);
}

// A list that has elements only for the rows that can be seen, so that 10,000 cost no more than 50. It scrolls with whatever
// scrolls it, its own box or the page. Rows have the height of their kind: `--KIND` of the list's style, pixels.
//
// One row can be reached with Tab; arrows go to the others, and to the buttons within a row.
export class List {
  #element;
  #render;
  #activate;
  #items = [];
  #tops = [0];
  #rows = new Map();
  #active = null;
  #heights = null;
  #scheduled = false;

  // `render(item)` makes a row of an item `{ key, kind, … }`, `activate(item)` is called for Enter and a click.
  constructor(element, render, activate) {
    this.#element = element;
    this.#render = render;
    this.#activate = activate;
    const later = () => this.#schedule();
    document.addEventListener("scroll", later, { capture: true, passive: true });
    new ResizeObserver(() => {
      this.#heights = null;
      later();
    }).observe(element);
    addEventListener("resize", () => {
      this.#heights = null;
      later();
    });
    element.addEventListener("keydown", (event) => this.#key(event));
    element.addEventListener("click", (event) => {
      const item = this.#itemOf(event.target);
      if (item && !getSelection().toString()) this.#activate(item);
    });
    element.addEventListener("focusin", (event) => {
      const item = this.#itemOf(event.target);
      if (item) this.#active = item.key;
    });
  }

  get items() {
    return this.#items;
  }

  // True while a row of it has the focus.
  get hasFocus() {
    return this.#element.contains(document.activeElement);
  }

  // Shows these items. Rows whose item is the same object as before stay as they are.
  set(items) {
    this.#items = items;
    this.#element.setAttribute("aria-rowcount", items.length);
    this.#measure();
    this.#draw();
  }

  // Scrolls to an item and gives it the focus.
  go(key) {
    const index = this.#items.findIndex((item) => item.key === key);
    if (index >= 0) this.#focus(index);
  }

  #schedule() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => {
      this.#scheduled = false;
      if (!this.#heights) this.#measure();
      this.#draw();
    });
  }

  #measure() {
    if (!this.#heights) {
      const style = getComputedStyle(this.#element);
      this.#heights = new Proxy({}, {
        get(known, kind) {
          known[kind] ??= parseFloat(style.getPropertyValue(`--${kind}`)) || 32;
          return known[kind];
        },
      });
    }
    let top = 0;
    this.#tops = this.#items.map((item) => {
      const at = top;
      top += this.#heights[item.kind];
      return at;
    });
    this.#tops.push(top);
    this.#element.style.height = `${top}px`;
  }

  // The last item that begins at or above a height.
  #at(height) {
    let [low, high] = [0, this.#items.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#tops[middle] <= height) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  #draw() {
    const rect = this.#element.getBoundingClientRect();
    const box = this.#element.parentElement.getBoundingClientRect();
    const from = Math.max(0, box.top) - rect.top;
    const to = Math.min(innerHeight, box.bottom) - rect.top;
    const wanted = new Map();
    if (this.#items.length && rect.width && to > from) {
      const last = Math.min(this.#items.length - 1, this.#at(to) + 4);
      for (let index = Math.max(0, this.#at(from) - 4); index <= last; index++) {
        wanted.set(this.#items[index].key, index);
      }
      // What has the focus keeps it when it is scrolled away.
      if (this.hasFocus && this.#rows.has(this.#active) && !wanted.has(this.#active)) {
        const index = this.#items.findIndex((item) => item.key === this.#active);
        if (index >= 0) wanted.set(this.#active, index);
      }
    }
    for (const [key, row] of this.#rows) {
      if (wanted.has(key)) continue;
      row.element.remove();
      this.#rows.delete(key);
    }
    const reachable = wanted.has(this.#active) ? this.#active : wanted.keys().next().value;
    for (const [key, index] of wanted) {
      const item = this.#items[index];
      let row = this.#rows.get(key);
      if (row?.item !== item) {
        const element = this.#make(item);
        const hadFocus = row?.element.contains(document.activeElement);
        if (row) row.element.replaceWith(element);
        else this.#element.append(element);
        if (hadFocus) element.focus({ preventScroll: true });
        row = { element, item };
        this.#rows.set(key, row);
      }
      row.element.style.transform = `translateY(${this.#tops[index]}px)`;
      row.element.setAttribute("aria-rowindex", index + 1);
      row.element.tabIndex = key === reachable ? 0 : -1;
    }
  }

  #make(item) {
    const element = this.#render(item);
    element.classList.add("row");
    element.setAttribute("role", "row");
    element.tabIndex = -1;
    for (const cell of element.children) cell.setAttribute("role", "gridcell");
    for (const button of element.querySelectorAll("button")) button.tabIndex = -1;
    return element;
  }

  #itemOf(target) {
    for (const row of this.#rows.values()) if (row.element.contains(target)) return row.item;
    return null;
  }

  #focus(index) {
    const item = this.#items[index];
    const [top, height] = [this.#tops[index], this.#tops[index + 1] - this.#tops[index]];
    const box = this.#element.parentElement;
    const isOwn = getComputedStyle(box).overflowY !== "visible";
    const rect = this.#element.getBoundingClientRect();
    const area = isOwn ? box.getBoundingClientRect() : { top: 110, bottom: innerHeight };
    const above = area.top - (rect.top + top);
    const below = rect.top + top + height - area.bottom;
    const by = above > 0 ? -above : Math.max(0, below);
    if (by) (isOwn ? box : window).scrollBy({ top: by, behavior: "instant" });
    this.#active = item.key;
    this.#draw();
    this.#rows.get(item.key)?.element.focus({ preventScroll: true });
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const item = this.#itemOf(event.target);
    if (!item) return;
    const index = this.#items.indexOf(item);
    const last = this.#items.length - 1;
    const row = this.#rows.get(item.key).element;
    const buttons = [row, ...row.querySelectorAll("button")];
    const at = buttons.indexOf(document.activeElement);
    const moves = { ArrowDown: index + 1, ArrowUp: index - 1, PageDown: index + 10, PageUp: index - 10, Home: 0, End: last };
    if (event.key in moves) this.#focus(Math.max(0, Math.min(last, moves[event.key])));
    else if (event.key === "ArrowRight") buttons[Math.min(at + 1, buttons.length - 1)].focus();
    else if (event.key === "ArrowLeft") buttons[Math.max(at - 1, 0)].focus();
    else if (event.key === "Enter" && event.target === row) this.#activate(item);
    else if (event.key === "c" && item.copy) copy(item.copy);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
