"use strict";
/** The past: runs that a collector has kept, from the server of this page. It reads only. */
const history_ = (() => {
  const { byId, setText, show, Rows } = drawing;
  const { shown, count } = words;

  /** Asks one question of each kind at a time over a WebSocket, which it opens for the first question. */
  class Source {
    constructor(url, token, answered) { Object.assign(this, { url, token, answered, ids: 0, asked: new Map(), socket: null }); }

    /** `take(answer)` gets the answer, or `{error}`; a newer question of this kind takes its place. */
    ask(what, question, take) {
      const id = ++this.ids;
      this.asked.set(what, { id, take, text: JSON.stringify({ what, id, ...question }) });
      if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(this.asked.get(what).text);
      else if (this.socket?.readyState !== WebSocket.CONNECTING) this.open();
    }

    open() {
      const socket = new WebSocket(this.url, ["cascade.history", ...(this.token ? [`token.${this.token}`] : [])]);
      this.socket = socket;
      socket.onopen = () => this.asked.forEach(({ text }) => socket.send(text));
      socket.onmessage = ({ data }) => this.receive(JSON.parse(data));
      socket.onclose = ({ reason }) => this.fail(reason || "The history does not answer: is “cascade web” still running? Reload the page.");
    }

    receive({ id, ...answer }) {
      const found = [...this.asked].find(([, each]) => each.id === id);
      if (!found) return;
      this.asked.delete(found[0]);
      found[1].take(answer);
      this.answered();
    }

    fail(error) {
      const waiting = [...this.asked.values()];
      this.asked.clear();
      waiting.forEach(({ take }) => take({ error }));
      this.answered();
    }
  }

  // a page that was open all night shows the night that was
  const AGAIN = 30_000;

  /** Return whether what was asked at a time has to be asked again: a person sees it, and neither points nor types there. */
  const isOld = (asked, place) => performance.now() - asked > AGAIN && !document.hidden && !place.contains(document.activeElement);

  const bytes = (text) => new TextEncoder().encode(text);

  /** Return a run of the list as the rows of a page show it. */
  function listed(row, index) {
    const view = new views.View(), { source, run_id } = row;
    const report = { v: "1.0", source, runs: [{ failures: [], interrupted: [], ...row, ended: row.ended ?? row.latest }] };
    view.fold(`cascade/state/${fields.encodeLevel(source)}/ended`, bytes(JSON.stringify(report)), { now: 0, retained: true });
    const run = view.runs.get(views.runKey(source, run_id));
    if (!run) return null;
    return { key: `${index} ${source} ${run_id}`, run, row: { ...views.runRow(view, run, 0), status: row.status || runs.ENDED }, of: row };
  }

  /** Return what the panels need of a page that shows one run of the past: the same as of a live one. */
  function opened(page, { run: [run_id, source], messages: found, bars, problem }) {
    const view = new views.View();
    found.forEach(({ topic, payload }) => view.fold(topic, bytes(payload), { now: 0, retained: true }));
    const key = views.runKey(source, run_id), run = view.runs.get(key);
    if (!run) return null;
    const kept = new timelines.Timelines();
    kept.keep(key, run.token, bars);
    const at = run.ended ?? view.engines.get(source)?.runs?.seconds ?? 0;
    const fixed = { view, selected: key, timelines: kept, graphs: new Map(), now: 0, clock: at, clockOf: () => at, isPast: true, problem };
    return Object.create(page, Object.fromEntries(Object.entries(fixed).map(([name, value]) => [name, { value }])));
  }

  /** The section "History": a list that the server filters, a page at a time. */
  class List {
    constructor(source, page, open) {
      Object.assign(this, { source, open, items: [], starts: [null], behind: null, problem: "", waits: true });
      const like = Object.create(page, { ago: { value: (_, seconds) => words.moment(seconds) }, actions: { value: { select: (key) => this.select(key) } } });
      this.rows = new Rows(byId("past"), { row: () => panels.recentRow(like), empty: () => (this.waits ? "Reading …" : "No run matches."), label: "History" });
      this.form = byId("past-filter");
      this.form.oninput = () => { clearTimeout(this.later); this.later = setTimeout(() => this.begin(), 250); };
      this.form.onsubmit = (event) => { event.preventDefault(); this.begin(); };
      byId("past-next").onclick = () => { this.starts.push(this.behind); this.ask(); };
      byId("past-back").onclick = () => { this.starts.pop(); this.ask(); };
      this.begin();
    }

    begin() {
      this.starts = [null];
      this.ask();
    }

    ask() {
      const value = (name) => this.form.elements[`past-${name}`].value.trim();
      const seconds = (name) => (value(name) ? Date.parse(value(name)) / 1000 : null);
      const question = { name: value("name"), engine: value("engine"), status: value("status"), since: seconds("since") ?? 0, until: seconds("until") };
      this.waits = true;
      this.asked = performance.now();
      this.source.ask("runs", { ...question, behind: this.starts.at(-1) }, ({ rows = [], behind = null, problem = "", error = "" }) => {
        Object.assign(this, { waits: false, behind, problem: error || problem, items: rows.map(listed).filter(Boolean) });
      });
    }

    select(key) {
      const { run_id, source, org_id, project_id } = this.items.find((item) => item.key === key).of;
      this.open({ run_id, source, org_id, project_id });
    }

    draw(selected) {
      if (this.starts.length === 1 && isOld(this.asked, byId("past-section"))) this.ask();
      const short = words.shortened(this.items.map(({ run }) => run.run_id));
      for (const item of this.items) Object.assign(item, { short: short.get(item.run.run_id), selected: selected === views.runKey(item.run.source, item.run.run_id) });
      this.rows.draw(this.items, ({ key }) => key);
      setText(byId("past-problem"), shown(this.problem, 500));
      const first = (this.starts.length - 1) * 100 + 1;
      setText(byId("past-note"), this.items.length ? `${count(first)} to ${count(first + this.items.length - 1)}, newest first` : "");
      byId("past-back").disabled = this.starts.length < 2;
      byId("past-next").disabled = !this.behind;
      show(byId("past-pager"), this.starts.length > 1 || Boolean(this.behind));
    }
  }

  /** Return the part of the address that names a run: it can be shared. */
  function link(run_id, source, token) {
    const parts = { ...(token ? { token } : {}), run: run_id, on: source };
    return `#${Object.entries(parts).map(([key, value]) => `${key}=${encodeURIComponent(value)}`).join("&")}`;
  }

  return { Source, List, isOld, opened, link };
})();
