"use strict";
/** Elements, and lists of rows that change only where their data has changed. Text enters by `textContent` only. */
const drawing = (() => {
  const PAGE = 100;
  const MARKS = { online: "●", unknown: "?", lost: "✕", ended: "○", Running: "▶", Paused: "‖", Succeeded: "✓", Failed: "✕", Cancelled: "⊘", Lost: "✕", Ended: "○", paused: "‖" };

  const byId = (id) => document.getElementById(id);

  /** Make an element: `make("p", {class: "meta"}, "text", child)`. */
  function make(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  }

  function setText(node, text) {
    if (node.textContent !== text) node.textContent = text;
    return node;
  }

  function set(node, name, value) {
    if (value === null) node.removeAttribute(name);
    else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
  }

  function show(node, visible) {
    if (node.hidden === visible) node.hidden = !visible;
  }

  /** Show a state as a word with a mark: colour is not the only signal. */
  function setState(node, state, text = state) {
    set(node, "class", `state is-${state}`);
    set(node, "data-mark", MARKS[state] ?? "·");
    setText(node, text);
  }

  /** At most 100 rows of any number of items, by key; they keep their order while the pointer or the focus is in it. */
  class Rows {
    /** `row(item)` makes `{node, update(item)}`. */
    constructor(place, { row, empty, label = null }) {
      Object.assign(this, { place, row, empty, rows: new Map(), order: [], page: 0, name: label ?? "" });
      this.list = make("div", { class: "rows", role: "table", ...(label ? { "aria-label": label } : {}) });
      this.none = make("p", { class: "empty" });
      this.back = make("button", { type: "button" }, "Back");
      this.next = make("button", { type: "button" }, "Next");
      this.where = make("span");
      this.last = make("button", { type: "button" }, "Last");
      this.find = make("input", { type: "search", spellcheck: "false", "aria-label": `Find in ${this.name}`, placeholder: "Find" });
      this.pager = make("div", { class: "pager" }, this.find, this.back, this.next, this.last, this.where);
      this.back.onclick = () => this.turn(-1);
      this.next.onclick = () => this.turn(1);
      this.last.onclick = () => this.turn(Infinity);
      this.find.oninput = () => this.turn(-Infinity);
      place.append(this.list, this.none, this.pager);
    }

    turn(by) {
      this.page += by;
      this.draw(this.items, this.key);
    }

    draw(all, key) {
      Object.assign(this, { items: all, key });
      const items = this.found(all, key), isLong = all.length > PAGE;
      const pages = Math.max(1, Math.ceil(items.length / PAGE));
      this.page = Math.max(0, Math.min(this.page, pages - 1));
      const shown = new Map(items.slice(this.page * PAGE, (this.page + 1) * PAGE).map((item) => [key(item), item]));
      this.drop(shown);
      this.order = this.arrange([...shown.keys()]);
      for (const each of this.order) this.update(each, shown.get(each));
      this.place_();
      show(this.list, items.length > 0);
      show(this.none, items.length === 0);
      setText(this.none, items.length ? "" : all.length ? "Nothing here has this text." : this.empty());
      show(this.pager, isLong);
      if (isLong) this.drawPager(items.length, pages);
    }

    /** Return the items whose key has the text that the user looks for: keys are made of names. */
    found(all, key) {
      const text = all.length > PAGE ? this.find.value.trim().toLowerCase() : "";
      return text ? all.filter((item) => String(key(item)).toLowerCase().includes(text)) : all;
    }

    drop(shown) {
      for (const [key, { node }] of this.rows) {
        if (shown.has(key)) continue;
        node.remove();
        this.rows.delete(key);
      }
    }

    arrange(keys) {
      if (!this.list.matches(":hover, :focus-within")) return keys;
      const kept = this.order.filter((key) => this.rows.has(key));
      const old = new Set(kept);
      return [...kept, ...keys.filter((key) => !old.has(key))];
    }

    update(key, item) {
      if (!this.rows.has(key)) this.rows.set(key, this.row(item));
      this.rows.get(key).update(item);
    }

    /** Move only the rows that are in the wrong place: a moved row loses the focus. */
    place_() {
      let after = null;
      for (const key of this.order) {
        const { node } = this.rows.get(key);
        if (node.parentNode !== this.list || node.previousSibling !== after) this.list.insertBefore(node, after ? after.nextSibling : this.list.firstChild);
        after = node;
      }
    }

    drawPager(count, pages) {
      this.back.disabled = this.page === 0;
      this.next.disabled = this.last.disabled = this.page === pages - 1;
      const first = this.page * PAGE + 1;
      setText(this.where, !count ? "none" : `${words.count(first)} to ${words.count(Math.min(count, first + PAGE - 1))} of ${words.count(count)}`);
    }
  }

  const PARTS = [["p-done", ["completed", "recorded"]], ["p-skip", ["skipped", "cancelled"]], ["p-failed", ["failed"]], ["p-run", ["running"]], ["p-wait", ["waiting"]]];

  /** A bar of the states of tasks. While more tasks may come it has no value, because the rest is not known. */
  class Bar {
    constructor() {
      this.parts = PARTS.map(([name]) => make("i", { class: name }));
      this.node = make("div", { class: "progress", role: "progressbar" }, ...this.parts);
    }

    /** `tasks`: how many there are by the words of `progress`. */
    update({ label, tasks, known, open, finished }) {
      const scale = 100 / Math.max(1, known);
      PARTS.forEach(([, names], index) => {
        const width = names.reduce((total, name) => total + (tasks[name] ?? 0), 0) * scale * (open ? 0.97 : 1);
        const text = `${width.toFixed(2)}%`;
        if (this.parts[index].style.width !== text) this.parts[index].style.width = text;
      });
      set(this.node, "aria-label", label);
      set(this.node, "aria-valuemin", open ? null : 0);
      set(this.node, "aria-valuemax", open ? null : known);
      set(this.node, "aria-valuenow", open ? null : finished);
      set(this.node, "aria-valuetext", `${words.count(finished)} of ${words.count(known)}${open ? " so far" : ""}`);
    }
  }

  return { byId, make, setText, set, show, setState, Rows, Bar, MARKS };
})();
