"use strict";
/** The parts of the page: each draws what a view shows. `page` is `{view, now, clockOf, clock, actions, desk, firstSeen}`. */
const panels = (() => {
  const { byId, make, setText, set, show, setState, Rows, Bar } = drawing;
  const { shown, plural, duration, count } = words;
  const RANK = { online: 0, unknown: 1, lost: 2, ended: 3 };

  const cell = (...parts) => make("div", { role: "cell" }, ...parts);
  const line = (...parts) => make("div", { class: "line" }, ...parts);
  const dotted = (parts) => parts.filter(Boolean).join(" · ");
  const announce = (node, parts) => set(node, "aria-label", parts.filter(Boolean).join(", "));
  const nameSpan = () => make("span", { class: "name" });
  const pushed = () => make("span", { class: "meta push" });
  const metaLine = () => make("div", { class: "meta" });
  const setNote = (panel, text) => setText(byId(`${panel}-note`), text);
  const rowOf = (...parts) => make("div", { class: "row", role: "row" }, cell(...parts));

  /** A button whose topic the page shows while it has the pointer or the focus. */
  function action(act) {
    const button = make("button", { type: "button" });
    button.onclick = () => act(button);
    return button;
  }

  function label(button, text, name, topic) {
    setText(button, text);
    set(button, "aria-label", name);
    set(button, "data-writes", topic);
    set(button, "title", `writes ${topic}`);
  }

  const endedOf = (counts) => runs.TERMINAL.reduce((total, state) => total + (counts[state] ?? 0), 0);
  const titleOf = (run) => run.name || run.target || "(unnamed)";
  const tasksInWords = (tasks) => Object.entries(tasks).map(([word, each]) => `${count(each)} ${progress.label(word)}`).join(", ");

  function engineRow(page) {
    const name = nameSpan(), state = make("span"), paused = make("span"), meta = metaLine();
    let engine;
    const pause = action(() => page.actions.togglePause(`source:${engine.source}`, shown(engine.source)));
    const limit = action(() => page.actions.limit(`source:${engine.source}`));
    const acts = make("div", { class: "acts", role: "cell" }, pause, limit);
    const node = make("div", { class: "row engine", role: "row" },
      cell(line(name, state, paused), meta), acts);
    return { node, update(item) {
      engine = item.engine;
      const source = shown(engine.source), online = item.status === "online";
      setText(name, source);
      const status = inWords(item.status);
      setState(state, item.status, status);
      setState(paused, "paused", "paused");
      show(paused, online && engine.paused);
      setText(meta, item.status === "unknown" ? unknownNote(page, engine) : engineNotes(page, engine, item.status));
      announce(node, [source, status, ...(online && engine.paused ? ["paused"] : []), meta.textContent]);
      show(acts, online && !engine.isOutOfReach);
      const topic = fields.registerTopic(`source:${engine.source}`, "pause");
      const holds = page.actions.isPaused(`source:${engine.source}`);
      label(pause, holds ? "Resume" : "Pause", `${holds ? "Resume" : "Pause"} ${source}`, topic);
      label(limit, "Limit…", `Limit ${source}`, fields.registerTopic(`source:${engine.source}`, "concurrency"));
      pause.disabled = page.actions.isOff(topic);
      limit.disabled = page.actions.isOff("");
    } };
  }

  const inWords = (status) => (status === "unknown" ? evidence.NOT_KNOWN : status);

  function unknownNote(page, engine) {
    if (!engine.onlyEvents) return `not known whether it is online: ${page.mayRead(evidence.STATUS_TOPICS) ? "so far only reports that the broker kept have come" : `this user may not read ${evidence.STATUS_TOPICS}`}`;
    return evidence.note({ isSure: page.hasNoState(engine), mayRead: page.mayRead(evidence.STATE_TOPICS), silent: page.now - engine.heard });
  }

  function engineNotes(page, engine, status) {
    const { presence, runs: report, summary, host } = engine;
    const online = status === "online";
    const notes = [];
    if (online && presence?.seconds != null) notes.push(page.since(engine, presence.seconds, "connected "));
    if (!online && engine.heard !== null) notes.push(`last message ${duration(page.now - engine.heard)} ago`);
    else if (!online && engine.reported !== null) notes.push(`last report ${page.ago(engine, engine.reported)}`);
    if (page.unreported().includes(engine.source)) notes.push("no report of it arrives");
    if (online && report) notes.push(plural(engine.activeRuns(page.now), "run"));
    if (online && summary) notes.push(`${count(summary.running)} running, ${count(summary.waiting)} waiting`);
    if (online && engine.sync && engine.sync !== "synced") notes.push(engine.sync);
    if (online && engine.paused) notes.push(`paused by ${page.actions.pausedBy(engine)}`);
    if (presence?.host) notes.push(`on ${shown(presence.host, 40)}`);
    if (online && typeof host?.load1 === "number") notes.push(`load ${host.load1.toFixed(1)}`);
    for (const [key, value] of Object.entries(host?.labels ?? {}).slice(0, 4)) notes.push(`${shown(key, 20)}: ${shown(String(value), 30)}`);
    if (engine.hasNoBirth && page.mayRead(evidence.STATUS_TOPICS)) notes.push("its session has no birth on the broker: any client may have written its reports");
    if (online && engine.isOutOfReach) notes.push("what you set here does not reach it");
    if (online && engine.contested) notes.push("two processes use this name, and only one of them answers: give every process a name of its own");
    if (engine.reportsOfAnother) notes.push("its reports are of another process");
    return notes.join(" · ");
  }

  function runRow(page) {
    let item;
    const open = make("button", { type: "button", class: "link" });
    const state = make("span"), meta = metaLine(), numbers = pushed(), bar = new Bar();
    const cancel = action((button) => page.actions.cancel(item.run, button));
    open.onclick = () => page.actions.select(item.key);
    const broken = make("div", { class: "error" }), held = make("div", { class: "held" });
    const node = rowOf(line(open, state, numbers), bar.node, line(meta, make("div", { class: "acts push" }, cancel)), held, broken);
    return { node, update(found) {
      item = found;
      const { run, row, status } = item;
      const { tasks, finished, known, percent } = row, title = shown(titleOf(run)), isPartial = run.partial;
      setText(open, title);
      set(open, "aria-pressed", String(item.selected));
      set(node, "class", `row${item.selected ? " selected" : ""}`);
      setState(state, status, inWords(status));
      setText(numbers, known && !isPartial ? `${ended.share(row)}${percent === null ? "" : ` · ${percent}%`}` : "");
      bar.update({ label: `Progress of ${title}`, tasks, known, open: percent === null, finished });
      show(bar.node, !isPartial);
      setText(meta, runNotes(page, item));
      setText(held, heldInWords(row.held));
      show(held, row.held.length > 0);
      setText(broken, ended.broke(views.interruptedRows(page.view, run, page.now), run.reported?.running_more));
      show(broken, broken.textContent !== "");
      announce(node, [title, inWords(status), numbers.textContent, shown(run.source), held.textContent]);
      label(cancel, "Cancel…", `Cancel ${title}`, fields.registerTopic(`run:${run.run_id}`, "cancel"));
      cancel.disabled = page.actions.isOff(fields.registerTopic(`run:${run.run_id}`, "cancel"));
      const engine = page.view.engines.get(run.source);
      show(cancel, progress.isActive(row.status) && !engine?.onlyEvents && !engine?.isOutOfReach);
    } };
  }

  /** Return why gates hold, one line for at most three of them. */
  const heldInWords = (texts) => texts.slice(0, 3).map((each) => shown(each, 300)).join("\n");

  function runNotes(page, { run, row, status, short }) {
    const engine = page.view.engines.get(run.source);
    const left = row.left_s, alive = progress.isActive(row.status);
    return dotted([ended.author(row.by), shown(run.source, 60), `run ${shown(short)}`,
      ...(run.name && run.target ? [shown(run.target, 60)] : []),
      ...(run.attempt > 1 || run.reported?.attempt > 1 ? [`attempt ${Math.max(run.attempt, run.reported?.attempt ?? 1)}`] : []),
      ...(alive && run.started !== null ? [page.since(engine, run.started)] : []),
      ...(left !== null ? [`about ${duration(Math.max(left, 1))} left`] : []),
      ...(alive && evidence.isOld(engine, page) ? [`last report ${duration(page.clock - engine.runs.seconds)} ago: not known whether it still runs`] : []),
      ...(run.reported?.lost ? [`${plural(run.reported.lost, "event")} dropped by the engine`] : []),
      alive && status !== "unknown" ? evidence.counted(run, tasksInWords(row.tasks))
        : `${alive && engine?.onlyEvents ? "when its last event arrived" : "last reported"}: ${evidence.counted(run, tasksInWords(row.tasks) || "no tasks")}`,
      ...Object.entries(run.tags).slice(0, 6).map(([key, value]) => `${shown(key, 20)}: ${shown(String(value), 30)}`)]);
  }

  function recentRow(page) {
    let item;
    const open = make("button", { type: "button", class: "link" }), state = make("span"), ago = pushed();
    open.onclick = () => page.actions.select(item.key);
    const meta = metaLine(), error = make("div", { class: "error" }), broken = make("div", { class: "error" });
    const node = rowOf(line(open, state, ago), meta, error, broken);
    return { node, update(found) {
      item = found;
      const { run, row, short } = item;
      const engine = page.view.engines.get(run.source), title = shown(titleOf(run));
      setText(open, title);
      set(open, "aria-pressed", String(item.selected));
      set(node, "class", `row${item.selected ? " selected" : ""}`);
      setState(state, row.status);
      // of a past run that goes on, the end is the time of its last message
      const goesOn = progress.isActive(row.status), lasted = goesOn ? "" : words.between(run.started, run.ended);
      setText(ago, run.ended === null ? "" : `${goesOn ? "last message " : ""}${page.ago(engine, run.ended)}`);
      const took = lasted ? [`took ${lasted}`] : [];
      setText(meta, dotted([ended.author(row.by), shown(run.source, 60), `run ${shown(short)}`, ...took, ended.share(goesOn ? { ...row, open: true } : row), evidence.counted(run, tasksInWords(row.tasks))]));
      setText(broken, ended.broke(views.interruptedRows(page.view, run, page.now), run.end?.interrupted_more));
      show(broken, broken.textContent !== "");
      setText(error, shown(run.error, 500));
      show(error, run.error !== "");
      announce(node, [title, row.status, shown(run.source), shown(run.error, 200)]);
    } };
  }

  function constraintRow(page) {
    let register;
    const name = nameSpan(), meta = metaLine(), obeyed = metaLine(), held = make("div", { class: "held" });
    const topic = make("code"), problem = make("div", { class: "error" });
    const lift = action(() => page.actions.lift(register));
    const node = make("div", { class: "row constraint", role: "row" },
      cell(line(name), meta, obeyed, held, problem, topic),
      make("div", { class: "acts", role: "cell" }, lift));
    return { node, update(found) {
      register = found;
      const what = `${words.describe(register.type, register.params ?? {})} · ${register.scope}`;
      const left = register.expires_at === null ? "" : register.expires_at > page.clock ? `${duration(register.expires_at - page.clock)} left` : "expired";
      setText(name, shown(what));
      setText(meta, [register.by ? `by ${shown(register.by, 100)}` : "no author given", left || "until lifted"].join(" · "));
      const isOnBroker = register.on_broker !== false;
      setText(obeyed, isOnBroker ? page.actions.obeyed(register) : "");
      const closed = views.gateRows(page.view, register.topic, page.now).filter(({ state }) => state !== "open");
      setText(held, heldInWords(closed.map(({ source, text }) => `${source}: ${text}`)));
      show(held, closed.length > 0);
      setText(topic, shown(register.topic, 200));
      setText(problem, refusals(page, register));
      show(problem, problem.textContent !== "");
      set(node, "aria-label", `${shown(what)}, ${meta.textContent}, ${isOnBroker ? obeyed.textContent : problem.textContent}${closed.length ? `, ${held.textContent}` : ""}`);
      label(lift, "Lift", `Lift ${shown(what)}`, register.topic);
      lift.disabled = page.actions.isOff(register.topic);
    } };
  }

  function refusals(page, register) {
    if (register.on_broker === false) return `not on the broker, still obeyed by ${evidence.named(register.applied)}`;
    if (register.problem) return `No engine can obey it: ${shown(register.problem, 200)}.`;
    return [...page.view.compliance(register.topic, page.now)].filter(([, each]) => ["rejected", "refused", "unsupported"].includes(each.status))
      .slice(0, 3).map(([source, each]) => `${shown(source, 40)}: ${shown(each.reason || each.status, 200)}`).join("; ");
  }

  function runningRow(page) {
    const name = nameSpan(), age = pushed(), meta = metaLine(), bar = new Bar();
    const node = rowOf(line(name, age), bar.node, meta);
    return { node, update({ row, now }) {
      const text = shown(row.task_id || row.task_name);
      setText(name, text);
      setText(age, words.between(row.since, now));
      const isPart = row.done !== null && row.total !== null && row.total > 0;
      show(bar.node, isPart);
      if (isPart) bar.update({ label: `Progress of ${text}`, tasks: { completed: Math.min(row.done, row.total) }, known: row.total, open: false, finished: Math.min(row.done, row.total) });
      const done = row.done === null ? "" : `${count(row.done)}${row.total === null ? "" : ` of ${count(row.total)}`} ${shown(row.unit, 20)}`.trim();
      setText(meta, dotted([...(row.paused ? ["paused at a checkpoint"] : []), done, shown(row.message, 200)]));
      announce(node, [text, meta.textContent]);
    } };
  }

  function waitingRow(page) {
    const name = nameSpan(), number = pushed(), meta = metaLine();
    let row;
    const lift = action(() => page.actions.lift(page.view.registers.get(row.topic)));
    const node = make("div", { class: "row constraint", role: "row" }, cell(line(name), meta),
      make("div", { class: "acts", role: "cell" }, number, lift));
    return { node, update(found) {
      row = found.row;
      const register = page.view.registers.get(row.topic), text = shown(words.reason(row, register, found.now));
      setText(name, text);
      setText(number, row.n ? plural(row.n, "task") : "");
      setText(meta, dotted([...(words.between(row.since, found.now) ? [`for ${words.between(row.since, found.now)}`] : []), shown(row.topic, 200)]));
      show(lift, Boolean(register));
      lift.disabled = page.actions.isOff(row.topic);
      label(lift, "Lift", `Lift ${text}`, row.topic);
      announce(node, [text, number.textContent]);
    } };
  }

  function failureRow() {
    const name = make("div", { class: "name" }), error = make("div", { class: "error" });
    const node = rowOf(name, error);
    return { node, update(task) {
      setText(name, shown(task.task_id));
      setText(error, shown(task.error, 500));
      set(node, "aria-label", `${shown(task.task_id)}, ${shown(task.error, 200)}`);
    } };
  }

  function valueRow(page) {
    const name = nameSpan(), when = pushed(), value = make("div", { class: "value" }), meta = metaLine();
    const node = rowOf(line(name, when), value, meta);
    return { node, update(item) {
      setText(name, shown(item.name));
      setText(when, item.seconds === null ? "" : page.ago(page.view.engines.get(item.source), item.seconds));
      setText(value, shown(valueInWords(item.data), 500));
      setText(meta, item.task_id || item.task_name ? `by ${shown(item.task_id || item.task_name)}` : "");
      set(node, "aria-label", `${shown(item.name)}, ${value.textContent}`);
    } };
  }

  /** Return published data on one line: `celsius: 21.5 · humidity: 40`, or JSON where it is nested. */
  function valueInWords(data) {
    const isFlat = fields.isObject(data) && Object.values(data).every((each) => each === null || typeof each !== "object");
    return isFlat ? Object.entries(data).map(([key, value]) => `${key}: ${value}`).join(" · ") : JSON.stringify(data);
  }

  function logRow() {
    const when = make("span", { class: "meta" }), level = make("span"), text = make("span", { class: "value" }), meta = metaLine();
    const node = rowOf(line(when, level, text), meta);
    return { node, update(line) {
      const rank = ["ERROR", "CRITICAL"].includes(line.level) ? "Failed" : line.level === "WARNING" ? "paused" : "ended";
      setText(when, line.seconds === null ? "" : words.moment(line.seconds));
      set(level, "class", `level is-${rank}`);
      setText(level, shown(line.level || "?", 20));
      setText(text, shown(line.message, 1000));
      setText(meta, dotted([shown(line.logger), shown(line.task_id || line.task_name),
        ...(line.skipped ? [`${plural(line.skipped, "line")} before it ${line.skipped === 1 ? "was" : "were"} not sent`] : [])]));
      set(node, "aria-label", `${level.textContent}, ${shown(line.message, 200)}`);
    } };
  }

  function taskRow() {
    const bar = new Bar();
    const meta = metaLine(), name = nameSpan(), numbers = pushed();
    const node = rowOf(line(name, numbers), bar.node, meta);
    return { node, update({ totals, open }) {
      // a report has no task in RETRYING whose next attempt runs
      const { tasks, finished, known } = progress.of(totals.counts, { known: totals.known, open });
      setText(name, shown(totals.name));
      setText(numbers, `${count(finished)} of ${count(known)}${open ? " so far" : ""}`);
      bar.update({ label: `Progress of ${shown(totals.name)}`, tasks, known, open, finished });
      const mean = totals.ended ? [`mean ${time(totals.sum_ms / totals.ended)}, longest ${time(totals.max_ms)}`] : [];
      setText(meta, dotted([tasksInWords(tasks), ...mean]));
      announce(node, [shown(totals.name), numbers.textContent, meta.textContent]);
    } };
  }

  const time = (ms) => (ms < 1000 ? `${ms.toFixed(ms < 10 ? 1 : 0)} ms` : ms < 120000 ? `${(ms / 1000).toFixed(1)} s` : duration(ms / 1000));

  /** Numbers for objects that have no name of their own. */
  class Numbers {
    constructor() { this.known = new WeakMap(); this.next = 0; }
    of(thing) {
      if (!this.known.has(thing)) this.known.set(thing, this.next++);
      return this.known.get(thing);
    }
  }

  /** All panels; `draw()` brings them up to date with the view. */
  class Panels {
    constructor(page) {
      this.page = page;
      const rows = (id, row, empty) => new Rows(byId(id), { row: () => row(page), empty, label: byId(`${id}-title`)?.textContent ?? null });
      const ready = (text) => () => (page.isKnown() ? text : page.unknown());
      const reported = (text) => () => (page.unreported().length ? evidence.unreported(page.unreported()) : ready(text)());
      this.engines = rows("engines", engineRow, ready("No engines. An engine appears as soon as it connects to this broker."));
      this.workflows = new workflows.Panel(page);
      this.gone = false;
      this.runs = rows("runs", runRow, reported("Nothing runs now."));
      this.recent = rows("recent", recentRow, ready("No run has ended yet."));
      this.constraints = rows("constraints", constraintRow, () => (!page.isKnown() ? page.unknown()
        : page.unreported().length ? evidence.unreported(page.unreported()) : page.view.hasOnlyEvents() ? "None is set over MQTT." : "None: nothing is paused or limited."));
      this.running = rows("running", runningRow, () => this.runningEmpty);
      this.waiting = rows("waiting", waitingRow, () => this.waitingEmpty);
      this.failures = rows("failures", failureRow, () => "Not known here.");
      this.tasks = rows("tasks", taskRow, () => this.tasksEmpty);
      this.values = rows("values", valueRow, () => "");
      this.logs = rows("logs", logRow, () => "");
      this.lines = new Numbers();
      this.graph = new graphs.Picture(byId("graph"));
      this.toggle = make("button", { type: "button" });
      this.toggle.onclick = () => { this.gone = !this.gone; page.actions.redraw(); };
      byId("engines").append(make("div", { class: "pager" }, this.toggle));
    }

    draw() {
      this.drawEngines();
      this.workflows.draw();
      this.drawRuns();
      this.drawConstraints();
      const live = this.page;
      this.page = live.past ?? live;
      this.drawDetails();
      this.page = live;
    }

    drawEngines() {
      const { view, now } = this.page;
      const isHidden = !this.page.mayRead(evidence.STATUS_TOPICS);
      const items = [...view.engines.values()].map((engine) => ({ engine, status: evidence.presenceOf(engine, now, isHidden) }))
        .sort((one, other) => RANK[one.status] - RANK[other.status] || views.byText(one.engine.source, other.engine.source));
      const here = items.filter(({ status }) => ["online", "unknown"].includes(status));
      const unknown = here.filter(({ status }) => status === "unknown").length, gone = items.length - here.length;
      const folds = gone > 5;
      this.engines.draw(folds && !this.gone ? here : items, ({ engine }) => engine.source);
      show(this.toggle.parentNode, folds);
      setText(this.toggle, this.gone ? "Hide those that are gone" : `Show ${plural(gone, "engine")} that ${gone === 1 ? "is" : "are"} gone`);
      setNote("engines", this.page.asOf(items.length ? [`${count(here.length - unknown)} online`, ...(unknown ? [`${count(unknown)} not known`] : []), ...(gone ? [`${count(gone)} lost or ended`] : [])].join(", ") : ""));
    }

    drawRuns() {
      const { view, now } = this.page;
      const rows = [...view.runs].map(([key, run]) => ({ key, run, row: views.runRow(view, run, now) }));
      const isOver = ({ run, row }) => run.status !== runs.RUNNING && row.status !== "unknown";
      const active = rows.filter((item) => !isOver(item))
        .sort((one, other) => (one.row.status === "Lost") - (other.row.status === "Lost") || views.byText(one.key, other.key));
      const over = rows.filter(isOver).sort((one, other) => (other.run.ended ?? 0) - (one.run.ended ?? 0));
      this.page.choose(active, over);
      const short = words.shortened(rows.map(({ run }) => run.run_id));
      for (const item of rows) {
        item.short = short.get(item.run.run_id);
        item.selected = item.key === this.page.selected;
        item.status = evidence.statusOf(view.engines.get(item.run.source), item.row, now);
      }
      this.runs.draw(active, ({ key }) => key);
      this.recent.draw(over, ({ key }) => key);
      const having = (found) => active.filter(({ status }) => status === found).length;
      const lost = having("Lost"), unknown = having("unknown"), alive = active.length - lost - unknown;
      setNote("runs", this.page.asOf([...(alive ? [`${count(alive)} active`] : []), ...(unknown ? [`${count(unknown)} not known`] : []), ...(lost ? [`${count(lost)} lost`] : [])].join(", ")));
      setNote("recent", this.page.asOf(over.length ? count(over.length) : ""));
    }

    drawConstraints() {
      const { view } = this.page;
      const kept = this.page.knowsRegisters() ? views.keptRows(view, this.page.now) : [];
      const items = [...[...view.registers.values()].sort((one, other) => views.byText(one.topic, other.topic)), ...kept];
      this.constraints.draw(items, ({ topic }) => topic);
      setNote("constraints", this.page.asOf([...(items.length ? [count(items.length)] : []), ...(view.left_out ? [`${count(view.left_out)} more are not kept`] : [])].join(", ")));
    }

    drawDetails() {
      const { view, selected } = this.page;
      const run = view.runs.get(selected);
      show(byId("details"), Boolean(run));
      show(byId("details-close"), Boolean(this.page.isPast));
      if (!run) return;
      // null before a report has come
      const engine = view.engines.get(run.source), now = this.page.clockOf(engine);
      const row = views.runRow(view, run, this.page.now);
      setText(byId("details-title"), `${shown(titleOf(run))} on ${shown(run.source, 60)}`);
      const isOver = !progress.isActive(row.status);
      setText(byId("details-end"), isOver ? ended.summary(run, row) : "");
      setText(byId("details-error"), shown(row.error, 500));
      show(byId("details-end"), isOver);
      show(byId("details-error"), row.error !== "");
      this.drawGraph(run, engine);
      this.drawTimeline(run, row, row.status === "Lost" ? engine?.runs?.seconds ?? null : now, engine);
      this.drawTasks(run, row, now, engine);
      this.drawFailures(run, row);
      this.drawValues(run);
      this.drawLogs(run);
    }

    drawGraph(run, engine) {
      const graph = run.end?.graph ?? engine?.graph?.runs.find(({ run_id }) => run_id === run.run_id) ?? this.page.graphs.get(this.page.selected);
      const note = byId("graph-note");
      if (!graph?.nodes.length) {
        if (this.graph.key) this.graph.clear();
        if (engine?.onlyEvents) return setText(note, evidence.NO_REPORTS);
        return setText(note, run.status === runs.RUNNING ? "The engine has not reported its graph."
          : "The broker keeps the graphs of active runs and of the latest that ended, and this page was not open when this one ran.");
      }
      const more = this.graph.draw(graph, ended.totalsOf(run), `${run.source}\n${run.run_id}\n${graph.rev ?? "end"}\n${graph.nodes.length}\n${graph.edges.length}`) + graph.more;
      return setText(note, [...(more ? [`${count(more)} more not drawn`] : []), "▶ running  ‖ waiting  ✕ failed", ...this.lateness(run)].join(" · "));
    }

    /** The last report of an active run may be older than its end: then counts by name are not the last ones. */
    lateness(run) {
      if (run.status === runs.RUNNING || !run.reported || run.end) return [];
      const named = run.reported.tasks.reduce((total, each) => total + endedOf(each.counts), 0);
      return named === endedOf(run.counts) ? [] : ["counts by name are of the last report before the end"];
    }

    /** `moment` is the end of the bars of tasks that run: of an engine that is lost, its last report; of one without reports, its last event. */
    drawTimeline(run, row, moment, engine) {
      const active = run.status === runs.RUNNING ? run.reported : null, running = active?.running ?? [];
      const seenHere = this.page.timelines.get(this.page.selected), bars = seenHere ?? ended.bars(run), canvas = byId("timeline");
      const toLast = Boolean(engine?.onlyEvents) && run.status === runs.RUNNING, now = toLast ? bars.latest : moment;
      const isActive = run.status === runs.RUNNING, isEmpty = (!bars.lanes.size && !running.length) || (isActive && now === null);
      const lost = run.missing ? ` ${plural(run.missing, "event")} did not reach this page: sent before it was open, or dropped by the broker.` : "";
      show(canvas, !isEmpty);
      if (isActive && now === null && !toLast) return setNote("timeline", row.status === "Lost" ? "The engine is lost, and has left no report with a time." : "Waiting for a report of the engine: until then its clock is not known.");
      if (isEmpty) return setNote("timeline", `The timeline shows events that arrive while the page is open; none has arrived yet.${lost}`);
      const seen = timelines.draw(canvas, bars, { now: now ?? this.page.clock, over: !isActive, running, isCut: !active || active.running_more > 0 });
      set(canvas, "aria-label", seen);
      if (!seenHere && run.end) return setNote("timeline", "what failed or was interrupted: the page was not open when the rest ran");
      return setNote("timeline", seen + (toLast ? ", up to the last event" : "") + (lost ? `.${lost}` : ""));
    }

    drawTasks(run, row, now, engine) {
      const isActive = progress.isActive(row.status), report = isActive ? run.reported : null, onlyEvents = Boolean(engine?.onlyEvents);
      const broken = views.interruptedRows(this.page.view, run, this.page.now);
      const brokenMore = run.end?.interrupted_more ?? (run.reported?.running_more || 0);
      show(byId("now"), isActive || broken.length > 0);
      const tasks = [...run.tasks.values()].filter(({ state }) => state === "RUNNING")
        .map((task) => ({ task_id: task.task_id, task_name: task.name, since: task.since, done: task.done, total: task.total, message: task.message, unit: task.unit, paused: false }))
        .sort((one, other) => (one.since ?? 0) - (other.since ?? 0));
      const running = report?.running.length ? report.running : tasks;
      this.runningEmpty = isActive ? (onlyEvents ? "No event of a task that runs has arrived." : "No task runs now.") : "The run is not active.";
      const none = { done: null, total: null, message: "", unit: "", paused: false };
      const rows = isActive ? running : broken.map((each) => ({ ...none, ...each }));
      this.running.draw(rows.map((each) => ({ row: each, now: isActive ? now : run.ended ?? engine?.runs?.seconds ?? null })), ({ row: each }) => each.task_id);
      const fromEvents = isActive && onlyEvents && running.length ? "when its last event arrived" : "";
      if (broken.length) setNote("running", `ran when the link broke${brokenMore ? `; ${count(brokenMore)} more` : ""}`);
      else setNote("running", report?.running_more ? `the longest; ${count(report.running_more)} more` : fromEvents);
      this.waitingEmpty = isActive ? (onlyEvents ? evidence.NO_REPORTS : "The engine reports no waiting tasks.") : "The run is not active.";
      this.waiting.draw((report ? progress.waitingRows(this.page.view, run, this.page.now) : []).map((each) => ({ row: each, now })), ({ row: each }) => [each.why, each.topic, each.name, each.type].join("\n"));
      setNote("waiting", report?.waiting_more ? `${count(report.waiting_more)} more reasons` : isActive && !onlyEvents ? "a task counts under each of its reasons" : "");
      this.tasksEmpty = onlyEvents ? evidence.NO_REPORTS : "The engine has not reported its tasks.";
      this.tasks.draw(ended.tasksOf(run).map((totals) => ({ totals, open: row.open })), ({ totals }) => totals.name);
      const more = (run.end ?? run.reported)?.tasks_more;
      setNote("tasks", [...(more ? [`${count(more)} more names`] : []), ...this.lateness(run)].join(" · "));
    }

    drawValues(run) {
      const items = [...this.page.view.data.values()].filter(({ source, run_id }) => source === run.source && run_id === run.run_id)
        .sort((one, other) => views.byText(one.name, other.name));
      show(byId("values-section"), items.length > 0);
      this.values.draw(items, ({ name }) => name);
    }

    drawLogs(run) {
      const lines = this.page.view.logs.filter(({ source, run_id }) => source === run.source && run_id === run.run_id).reverse();
      show(byId("logs-section"), lines.length > 0);
      this.logs.draw(lines, (line) => this.lines.of(line));
      setNote("logs", lines.length ? `the latest first${this.page.isPast ? "" : "; lines from before this page was open are not here"}` : "");
    }

    drawFailures(run, row) {
      const found = ended.failures(run, row);
      show(byId("failures-section"), found.rows.length + found.more > 0);
      this.failures.draw(found.rows, ({ task_id, attempt }) => `${task_id} ${attempt}`);
      setNote("failures", ended.failuresNote(found));
    }
  }

  return { Panels, recentRow, titleOf };
})();
