"use strict";
/** When tasks ran, drawn on a canvas, one lane for each name. It is made of events, so it shows what has arrived. */
const timelines = (() => {
  const MAX_RUNS = 20, MAX_BARS = 4000, MAX_LANES = 24, MAX_DEPTH = 4, LABEL = 130, LANE = 26, AXIS = 22, REPORT_SECONDS = 3;
  const ENDS = new Set(["COMPLETED", "FAILED", "CANCELLED", "RETRYING", "BLOCKED", "SKIPPED"]);

  /** The bars of one attempt of a run: the latest 4,000. */
  class Bars {
    constructor(token) {
      this.token = token;
      // by name: the ends of its rows
      this.lanes = new Map();
      // by task_id
      this.open = new Map();
      this.ended = [];
      // the time of the latest event
      this.latest = null;
    }

    /** Take a state of a task. A task that ended has its start by its duration where its start did not arrive. */
    add({ task_id, name, state, seconds, duration_ms }) {
      this.latest = Math.max(this.latest ?? seconds, seconds);
      const open = this.open.get(task_id);
      if (state === "RUNNING" && !open) return this.begin({ task_id, name, start: seconds });
      if (!ENDS.has(state)) return undefined;
      if (!open && (state === "SKIPPED" || state === "BLOCKED" || !duration_ms)) return undefined;
      const bar = open ?? { task_id, name, start: seconds - duration_ms / 1000, depth: 0 };
      this.open.delete(task_id);
      if (open) this.lanes.get(name)?.free.push(open.depth);
      else this.lane(name);
      this.ended.push({ ...bar, end: seconds, state });
      if (this.ended.length > 2 * MAX_BARS) this.ended.splice(0, MAX_BARS);
      return undefined;
    }

    /** Add a bar of which both ends are known. */
    mark(bar) {
      this.lane(bar.name);
      this.ended.push({ depth: 0, ...bar });
    }

    begin(bar) {
      const lane = this.lane(bar.name);
      const depth = lane.free.length ? lane.free.pop() : lane.next++;
      if (this.open.size < MAX_BARS) this.open.set(bar.task_id, { ...bar, depth });
    }

    lane(name) {
      if (!this.lanes.has(name)) this.lanes.set(name, { free: [], next: 0 });
      return this.lanes.get(name);
    }
  }

  class Timelines {
    constructor() { this.byRun = new Map(); }

    take({ source, run_id, token, kind, type, content, seconds }) {
      if (kind !== "events" || type !== "TaskStateEvent" || !content || seconds === null) return;
      const key = views.runKey(source, run_id);
      let bars = this.byRun.get(key);
      if (!bars || bars.token !== token) {
        bars = new Bars(token);
        this.byRun.delete(key);
        this.byRun.set(key, bars);
        if (this.byRun.size > MAX_RUNS) this.byRun.delete(this.byRun.keys().next().value);
      }
      bars.add({ ...content, seconds });
    }

    /** Keep the bars of a run of the past: id, name, begin, end and state of its calls. */
    keep(key, token, rows) {
      const bars = new Bars(token), states = rows.filter(([, , start]) => start !== null)
        .flatMap(([task_id, name, start, end, state]) => [{ task_id, name, seconds: start, state: "RUNNING" }, ...(end === null ? [] : [{ task_id, name, seconds: end, state }])]);
      states.sort((one, other) => one.seconds - other.seconds).forEach((each) => bars.add(each));
      this.byRun.set(key, bars);
    }

    get(key) { return this.byRun.get(key) ?? null; }
  }

  /**
   * Return the bars of tasks that run. The report knows those that began before the page was open; what it does not
   * list has ended, unless it began just now or the report is cut.
   */
  function openBars(bars, { now, over, running, isCut }) {
    const listed = new Set(running.map(({ task_id }) => task_id));
    const seen = [...bars.open.values()].filter((bar) => over || isCut || listed.has(bar.task_id) || now - bar.start < REPORT_SECONDS);
    const known = new Set(seen.map(({ task_id }) => task_id));
    const others = over ? [] : running.filter((row) => !known.has(row.task_id) && row.since !== null)
      .map((row, index) => ({ task_id: row.task_id, name: row.task_name, start: row.since, depth: index }));
    return [...seen, ...others].map((bar) => ({ ...bar, end: now, state: over ? "UNKNOWN" : "RUNNING" }));
  }

  /** Draw bars up to `now`, on the clock of the engine; return what is seen, in words. `running`: rows of the report. */
  function draw(canvas, bars, { now, over, running, isCut }) {
    const all = [...bars.ended.slice(-MAX_BARS), ...openBars(bars, { now, over, running, isCut })];
    const every = new Set([...bars.lanes.keys(), ...all.map(({ name }) => name)]);
    const names = [...every].slice(0, MAX_LANES);
    const first = all.reduce((least, bar) => Math.min(least, bar.start), now);
    const last = over ? all.reduce((most, bar) => Math.max(most, bar.end), first + 0.001) : now;
    const context = prepare(canvas, names.length * LANE + AXIS);
    const colours = palette();
    const width = canvas.clientWidth - LABEL - 8;
    const x = (seconds) => LABEL + ((seconds - first) / Math.max(0.001, last - first)) * width;
    names.forEach((name, index) => drawLabel(context, colours, name, index));
    const rows = new Map(names.map((name, index) => [name, index]));
    // drawn last: more tasks run at once than a lane has places
    const hasFailed = (bar) => Number(bar.state === "FAILED");
    for (const bar of [...all].sort((one, other) => hasFailed(one) - hasFailed(other))) {
      if (rows.has(bar.name)) drawBar(context, colours, bar, rows.get(bar.name), x);
    }
    drawAxis(context, colours, { x, first, last, top: names.length * LANE });
    const more = every.size - names.length;
    return `${words.plural(names.length, "task name")} over ${words.duration(last - first)}${more > 0 ? `, ${more} more not drawn` : ""}`;
  }

  function prepare(canvas, height) {
    const ratio = window.devicePixelRatio || 1;
    const [wide, high] = [Math.round(canvas.clientWidth * ratio), Math.round(height * ratio)];
    if (canvas.width !== wide || canvas.height !== high) {
      canvas.width = wide;
      canvas.height = high;
      canvas.style.height = `${height}px`;
    }
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, canvas.clientWidth, height);
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "middle";
    return context;
  }

  function palette() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    return { text: colour("text"), dim: colour("dim"), line: colour("line"), COMPLETED: colour("good"), FAILED: colour("bad"),
      RUNNING: colour("run"), CANCELLED: colour("wait"), RETRYING: colour("wait"), BLOCKED: colour("wait"), SKIPPED: colour("dim"), UNKNOWN: colour("dim") };
  }

  function drawLabel(context, colours, name, index) {
    context.fillStyle = colours.text;
    context.fillText(words.shown(name, 18), 0, index * LANE + LANE / 2, LABEL - 10);
    context.fillStyle = colours.line;
    context.fillRect(LABEL, (index + 1) * LANE - 1, context.canvas.clientWidth - LABEL, 1);
  }

  /** Failed tasks also have a cross, and what still runs is open to the right: colour is not the only signal. */
  function drawBar(context, colours, bar, row, x) {
    const rowHeight = (LANE - 5) / MAX_DEPTH;
    const [left, right] = [x(bar.start), Math.max(x(bar.end), x(bar.start) + 1.5)];
    const top = row * LANE + 2 + (bar.depth % MAX_DEPTH) * rowHeight;
    context.fillStyle = colours[bar.state] ?? colours.dim;
    context.globalAlpha = bar.state === "RUNNING" || bar.state === "FAILED" ? 1 : 0.75;
    context.fillRect(left, top, right - left, rowHeight - 0.5);
    context.globalAlpha = 1;
    if (bar.state === "FAILED") context.fillText("✕", Math.max(LABEL, right - 9), row * LANE + LANE / 2);
  }

  function drawAxis(context, colours, { x, first, last, top }) {
    const wished = (last - first) / 5;
    const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400].find((each) => each >= wished) ?? wished;
    context.fillStyle = colours.dim;
    for (let at = 0; at <= last - first; at += step) {
      const label = step < 1 ? `${at.toFixed(1)}s` : words.duration(at);
      context.fillRect(x(first + at), top, 1, 4);
      context.fillText(label, Math.min(x(first + at), context.canvas.clientWidth - 26), top + 13);
    }
  }

  const none = () => new Bars("");

  return { Timelines, draw, none };
})();
