"use strict";
/** Engines, runs and registers, as all messages so far show them: `View` of `cascade.wire`. No I/O. */
const views = (() => {
  const LIVE_SECONDS = 12;
  const MAX_ENGINES = 1000, MAX_RUNS = 1000, MAX_REGISTERS = 11000, MAX_SESSIONS = 8, MAX_LINES = 1000, MAX_DATA = 1000;
  const MAX_BYTES = 1 << 26;
  // what an engine itself says of its state
  const OWN_KINDS = ["presence", "constraints", "runs", "graph", "ended", "summary", "host", "workflows"];
  const KINDS = [...OWN_KINDS, "ack"];
  const { bare } = fields;

  /** One engine, as its messages show it. */
  class EngineView {
    constructor(source) {
      Object.assign(this, { source, presence: null, constraints: null, runs: null, graph: null, ended: null, summary: null, host: null, workflows: null,
        ack: null, project_id: "", place: null, seen: null, heard: null, first_heard: null, born: null, missed: 0, applied_since: bare(), listed: new Map() });
    }

    /** Return `online`, `lost` or `ended` at `now` on the reader's clock; `unknown` while only events have come, or what the broker kept for less than 12 s. */
    status(now) {
      const presence = this.presence;
      if (presence?.online) return "online";
      if (this.hasStopped || presence?.reason) return "ended";
      if (this.onlyEvents) return "unknown";
      if (!presence && !this.isSilent(now)) return "online";
      return !presence && this.heard === null && this.seen !== null && now - this.seen <= LIVE_SECONDS ? "unknown" : "lost";
    }

    isLive(now) { return this.status(now) === "online"; }

    /** Whether events have come of it, and neither a birth nor any report. */
    get onlyEvents() { return this.heard !== null && OWN_KINDS.every((kind) => this[kind] === null); }

    /** Whether only events have come of it for 12 s: an engine that reports here has reported by then. */
    hasNoState(now) { return this.onlyEvents && this.first_heard !== null && now - this.first_heard > LIVE_SECONDS; }

    /**
     * Whether it does not get what is set on this broker: two of its reports did not list it. An engine on NATS without a name is one,
     * its reports arrive; so the Python view, of which no command waits for two reports, does not have this.
     */
    get isOutOfReach() { return this.missed > 1; }

    /** Whether nothing has come of it for 12 s. */
    isSilent(now) { return this.heard === null || now - this.heard > LIVE_SECONDS; }

    get hasStopped() { return (this.summary !== null && !this.summary.up) || this.sync === "stopped"; }
    get session() { return (this.constraints ?? this.runs)?.session ?? ""; }
    get sync() { return this.constraints?.sync ?? ""; }
    get isEmpty() { return KINDS.every((kind) => this[kind] === null); }

    /** Whether its report on constraints is not of the process that is online. */
    get reportsOfAnother() {
      const report = this.constraints, birth = this.presence;
      if (!report || !birth?.online || !report.presence || !birth.session) return false;
      return report.presence !== birth.session;
    }

    /** Whether its report of runs is of an earlier process: `runs_of_another` of `cascade.wire`. */
    runsOfAnother(now) {
      const report = this.runs, birth = this.presence;
      if (!report?.presence || !birth?.online || !birth.session || this.contested) return false;
      return report.presence !== birth.session && (this.born === null || now - this.born > LIVE_SECONDS);
    }

    /** Return how many runs it has now. */
    activeRuns(now) { return !this.runs || !this.isLive(now) || this.runsOfAnother(now) ? 0 : this.runs.runs.length + this.runs.more; }

    /** Whether its report names the session of a birth that the broker does not have. */
    get hasNoBirth() { return Boolean(this.constraints?.presence) && !this.presence; }

    /** When its last report was written, by its own clock; null if none has a time. */
    get reported() {
      const times = [this.constraints, this.runs, this.summary].map((report) => report?.seconds ?? null).filter((each) => each !== null);
      return times.length ? Math.max(...times) : null;
    }

    /** Whether it is online and none of its reports has come, which every engine with a birth retains. */
    get isUnreported() { return Boolean(this.presence?.online) && !this.constraints && !this.runs; }

    /** Whether two processes use its name. */
    get contested() { return Boolean(this.constraints?.contested || this.runs?.contested); }

    /** Whether a pause covers everything that this engine runs. */
    get paused() {
      if (!this.constraints) return this.runs !== null && this.runs.paused === true;
      return this.constraints.effective.some((row) => row.type === "pause" && coversAll(row.scope));
    }
  }

  /** Whether a constraint in force on an engine covers each task of each of its runs. */
  const coversAll = (scope) => scope === "task:*" || !/^(task|run):/.test(scope);

  class View {
    constructor() {
      // by source; the one with the latest message is the last
      this.engines = new Map();
      // by source and run_id; likewise
      this.runs = new Map();
      this.registers = new Map();
      this.logs = [];
      this.data = new Map();
      this.store = "";
      this.not_understood = 0;
      this.left_out = 0;
      // whether the broker has sent a retained message: it shows what it holds, so what is missing is not there
      this.has_retained = false;
      // of which only events have come, the latest last: any client may invent them
      this.eventsOnly = new Set();
      this.unreported = new Set();
      this.room = new runs.Room();
      this.sizes = new Sizes();
      this.now = 0;
    }

    /**
     * Take one message; return it parsed, or null if it is not understood.
     * `now`: seconds on the reader's clock. `retained`: the broker had kept it, so it does not show that its engine lives.
     */
    fold(topic, payload, { now, retained = false }) {
      this.now = now;
      const message = messages.parse(topic, payload);
      this.has_retained ||= retained;
      const heard = retained ? null : now;
      switch (message?.is) {
        case "event":
          if (!this.isOfItsProject(message)) {
            this.not_understood += 1;
            return null;
          }
          this.foldEvent(message, now);
          break;
        case "constraints": this.foldConstraints(message, heard); break;
        case "runs": this.foldRuns(message, heard); break;
        case "ended":
          this.engine(message.source, heard).ended = message;
          this.foldEnds(message.source, message.runs);
          break;
        case "graph": case "summary": case "host": case "workflows": this.engine(message.source, heard)[message.is] = message; break;
        case "ack": this.engine(message.source).ack = message; break;
        case "presence": this.foldPresence(message, heard); break;
        case "register": this.foldRegister(message, payload.length); break;
        case "store": this.store = message.store; break;
        case "cleared": this.clear(message.topic); break;
        default: this.not_understood += 1;
      }
      if (["constraints", "runs", "graph", "ended", "summary", "host", "workflows", "ack"].includes(message?.is)) this.weigh(topic, payload.length);
      return message;
    }

    live(now) { return sorted(this.engines).filter((engine) => engine.isLive(now)); }

    /** Return the engines of which only events have come for 12 s, which means something only once all that is retained has arrived. */
    withoutState(now) {
      return [...this.engines.values()].filter((engine) => engine.hasNoState(now)).sort((one, other) => byText(one.source, other.source));
    }

    hasOnlyEvents() { return [...this.engines.values()].some((engine) => engine.onlyEvents); }

    /** Return what each live engine does with a register, by source; others have not answered. */
    compliance(topic, now) {
      return new Map(this.live(now)
        .filter((engine) => engine.constraints?.applied[topic] && !engine.reportsOfAnother)
        .map((engine) => [engine.source, engine.constraints.applied[topic]]));
    }

    run(source, run_id, byEvent = false) {
      const key = runKey(source, run_id);
      note(this.unreported, key, byEvent, !this.runs.has(key));
      const run = this.runs.get(key) ?? new runs.RunView(source, run_id, this.room);
      this.runs.delete(key);
      this.runs.set(key, run);
      if (this.runs.size > MAX_RUNS) {
        const dropped = first(this.unreported) ?? first(this.runs);
        this.runs.get(dropped).forgetTasks();
        this.runs.delete(dropped);
        this.unreported.delete(dropped);
      }
      return run;
    }

    engine(source, heard = null, byEvent = false) {
      note(this.eventsOnly, source, byEvent, !this.engines.has(source));
      const engine = this.engines.get(source) ?? Object.assign(new EngineView(source), { seen: this.now });
      this.engines.delete(source);
      this.engines.set(source, engine);
      if (heard !== null) {
        engine.heard = heard;
        engine.first_heard ??= heard;
        // the will of an earlier connection
        if (engine.presence && !engine.presence.session) engine.presence = null;
      }
      if (this.engines.size > MAX_ENGINES) this.forget(first(this.eventsOnly) ?? first(this.engines));
      return engine;
    }

    forget(source) {
      this.engines.delete(source);
      this.eventsOnly.delete(source);
      this.sizes.drop(source);
    }

    weigh(topic, size) {
      this.sizes.set(...owner(topic), size);
      while (this.sizes.total > MAX_BYTES && this.engines.size > 1) this.forget(first(this.engines));
    }

    /** Whether an event is on a topic of the project that its source reports, or else of the run's first event. */
    isOfItsProject({ source, run_id, org_id, project_id }) {
      const place = this.engines.get(source)?.place ?? this.runs.get(runKey(source, run_id))?.place ?? null;
      return !place || (place[0] === org_id && place[1] === project_id);
    }

    foldEvent(event, now) {
      if (event.source) this.engine(event.source, now, true).project_id = event.project_id;
      const run = this.run(event.source, event.run_id, true);
      run.place ??= [event.org_id, event.project_id];
      if (!run.fold(event)) return;
      if (!event.content) return;
      if (event.kind === "logs" && event.type === "LogEvent") {
        if (this.logs.push(said(event)) > MAX_LINES) this.logs.shift();
      } else if (event.kind === "data" && event.type === "DataEvent") {
        this.foldData(said(event));
      }
    }

    foldData(item) {
      const key = JSON.stringify([item.source, item.run_id, item.name]);
      this.data.delete(key);
      this.data.set(key, item);
      if (this.data.size > MAX_DATA) dropFirst(this.data);
    }

    foldConstraints(report, heard) {
      const engine = this.engine(report.source, heard);
      const since = engine.applied_since;
      engine.constraints = report;
      engine.applied_since = bare(Object.entries(report.applied).filter(([, row]) => row.status === "applied")
        .map(([topic]) => [topic, since[topic] ?? report.seconds ?? 0]));
    }

    foldRuns(report, heard) {
      const engine = this.engine(report.source, heard);
      engine.runs = report;
      engine.project_id = report.project_id || engine.project_id;
      this.takePlace(engine, report);
      const listed = new Set(report.runs.map((row) => row.run_id));
      const before = engine.listed.get(report.session)?.runs ?? new Set();
      engine.listed.delete(report.session);
      const replaced = takeReplaced(engine, report.presence), lost = engine.contested ? [] : replaced;
      engine.listed.set(report.session, { presence: report.presence, runs: listed });
      if (engine.listed.size > MAX_SESSIONS) dropFirst(engine.listed);
      this.foldEnds(report.source, report.recent);
      for (const row of report.runs) this.run(report.source, row.run_id).report(row);
      const gone = (found) => [...found].filter((run_id) => !listed.has(run_id))
        .map((run_id) => this.runs.get(runKey(report.source, run_id))).filter(Boolean);
      if (!report.more) gone(before).forEach((run) => run.unlisted());
      gone(lost).forEach((run) => run.lost());
    }

    /** Note the project that an engine reports, and forget what events of other projects have shown of it. */
    takePlace(engine, { org_id, project_id }) {
      const place = [org_id, project_id];
      if (!project_id || same(place, engine.place)) return;
      engine.place = place;
      const isForeign = ({ source, run_id }) => {
        const found = source === engine.source && this.runs.get(runKey(source, run_id))?.place;
        return found && !same(found, place);
      };
      const foreign = [...this.runs].filter(([, run]) => isForeign(run));
      if (!foreign.length) return;
      this.logs = this.logs.filter((line) => !isForeign(line));
      for (const [key, item] of [...this.data]) if (isForeign(item)) this.data.delete(key);
      for (const [key, run] of foreign) {
        this.runs.delete(key);
        this.unreported.delete(key);
        run.forgetTasks();
      }
    }

    /** Take runs that have ended, the latest last; a row that came before changes nothing. */
    foldEnds(source, rows) {
      const newest = new Map([...rows].reverse().map((row) => [row.run_id, row]));
      // under such an id, an earlier attempt has ended
      const active = new Map((this.engines.get(source).runs?.runs ?? []).map(({ run_id, token }) => [run_id, token]));
      for (const [run_id, row] of newest) {
        // one that is active is lost only in the eyes of another process of the name
        if (active.has(run_id) && !(row.token && row.token === active.get(run_id) && row.status !== runs.LOST)) continue;
        const known = this.runs.get(runKey(source, run_id));
        if (!known?.hasEnd(row)) this.run(source, run_id).reportEnd(row);
      }
    }

    foldPresence(presence, heard) {
      const engine = this.engine(presence.source);
      const before = engine.presence;
      // a late will
      if (!presence.online && before?.online && presence.session !== before.session) return;
      if (presence.session !== before?.session) engine.born = heard;
      engine.presence = presence;
    }

    foldRegister(register, size) {
      const { topic } = register;
      const room = MAX_BYTES - this.sizes.registers + this.sizes.ofRegister(topic);
      if ((this.registers.has(topic) || this.registers.size < MAX_REGISTERS) && size <= room) {
        this.registers.set(topic, register);
        this.sizes.setRegister(topic, size);
      } else {
        this.left_out += 1;
      }
    }

    clear(topic) {
      if (this.registers.delete(topic)) this.sizes.setRegister(topic, 0);
      const [source, kind] = owner(topic);
      const engine = this.engines.get(source);
      if (!engine) return;
      const held = engine[kind] !== null;
      engine[kind] = null;
      this.sizes.set(source, kind, 0);
      if (engine.isEmpty) this.forget(source);
      // beside an ack: the last that it said of itself is gone
      else if (held && engine.onlyEvents) engine.heard = engine.first_heard = null;
    }
  }

  /** The sizes in bytes of the messages that are kept, which bound what they take in memory. */
  class Sizes {
    constructor() {
      this.total = 0;
      this.registers = 0;
      // by source and kind
      this.byKind = new Map();
      this.byTopic = new Map();
    }

    set(source, kind, size) {
      if (!this.byKind.has(source)) this.byKind.set(source, new Map());
      const kinds = this.byKind.get(source);
      this.total += size - (kinds.get(kind) ?? 0);
      kinds.set(kind, size);
    }

    drop(source) {
      for (const size of this.byKind.get(source)?.values() ?? []) this.total -= size;
      this.byKind.delete(source);
    }

    ofRegister(topic) { return this.byTopic.get(topic) ?? 0; }

    setRegister(topic, size) {
      this.registers += size - this.ofRegister(topic);
      this.byTopic.delete(topic);
      if (size) this.byTopic.set(topic, size);
    }
  }

  const runKey = (source, run_id) => `${source.length} ${source} ${run_id}`;
  const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);
  const byText = (one, other) => (one < other ? -1 : one > other ? 1 : 0);
  const sorted = (map) => [...map.keys()].sort(byText).map((key) => map.get(key));

  const first = (found) => found.keys().next().value;

  function note(seen, key, byEvent, isNew) {
    if ((seen.delete(key) || isNew) && byEvent) seen.add(key);
  }

  function dropFirst(map) {
    const [key, value] = map.entries().next().value;
    map.delete(key);
    return value;
  }

  /** Return the source and the part of its view that a retained topic holds. */
  const owner = (topic) => fields.stateTopic(topic) ?? (fields.sourceTopic(topic, "ack") !== null
    ? [fields.sourceTopic(topic, "ack"), "ack"] : [fields.sourceTopic(topic, "status") ?? "", "presence"]);

  /** Return the runs that were listed under another presence, and forget the reports that listed them. */
  function takeReplaced(engine, presence) {
    const found = new Set();
    for (const [session, each] of [...engine.listed]) {
      if (!presence || each.presence === "" || each.presence === presence) continue;
      each.runs.forEach((run_id) => found.add(run_id));
      engine.listed.delete(session);
    }
    return found;
  }

  const said = ({ source, run_id, content, seconds }) => ({ source, run_id, ...content, seconds });

  /** Return a view as JSON: the field names are those of the Python view, `rows` those of its tables. */
  function dump(view, now) {
    return {
      engines: sorted(view.engines).map((engine) => dumpEngine(engine, now)),
      runs: [...view.runs.values()].map(dumpRun),
      registers: Object.fromEntries([...view.registers].map(([topic, each]) => [topic, plain(each)])),
      logs: view.logs, data: [...view.data.values()],
      store: view.store, not_understood: view.not_understood, left_out: view.left_out,
      rows: { engines: engineRows(view, now), runs: runRows(view, now), constraints: constraintRows(view, now),
        waiting: [...view.runs.values()].map((run) => progress.waitingRows(view, run, now)) },
    };
  }

  /** Return a message without the name of its kind. */
  function plain(message) {
    if (!message) return null;
    const { is, ...rest } = message;
    return rest;
  }

  function dumpEngine(engine, now) {
    const kinds = KINDS.map((kind) => [kind, plain(engine[kind])]);
    const listed = [...engine.listed].map(([session, each]) =>
      [session, { presence: each.presence, runs: [...each.runs].sort(byText) }]);
    return { source: engine.source, ...Object.fromEntries(kinds), project_id: engine.project_id, place: engine.place, seen: engine.seen, heard: engine.heard, first_heard: engine.first_heard,
      applied_since: engine.applied_since, listed: Object.fromEntries(listed), status: engine.status(now),
      reason: engine.presence?.reason ?? "", session: engine.session, sync: engine.sync, paused: engine.paused,
      contested: engine.contested, reports_of_another: engine.reportsOfAnother, has_no_birth: engine.hasNoBirth,
      only_events: engine.onlyEvents, has_no_state: engine.hasNoState(now) };
  }

  function dumpRun(run) {
    const names = ["source", "run_id", "place", "token", "attempt", "status", "target", "name", "tags", "started", "ended", "error", "by",
      "failures", "failed", "known", "reported", "recent", "end", "counts", "partial", "messages", "duplicates", "missing"];
    return { ...Object.fromEntries(names.map((name) => [name, run[name]])), tasks: Object.fromEntries(run.tasks) };
  }

  function engineRows(view, now) {
    return sorted(view.engines).map((engine) => ({ source: engine.source, status: engine.status(now),
      presence: engine.presence?.session ?? "", host: engine.presence?.host ?? "", pid: engine.presence?.pid ?? null,
      since: fields.timestamp(engine.presence?.seconds ?? null), project_id: engine.project_id, sync: engine.sync,
      paused: engine.isLive(now) && engine.paused, contested: engine.isLive(now) && engine.contested, runs: engine.activeRuns(now),
      held: engine.isLive(now) ? closedGates(engine) : [] }));
  }

  /** Return what an engine says of each gate that holds: first of registers, then of those that programs declare. */
  function closedGates({ constraints, runs: report }) {
    const registers = (constraints?.effective ?? []).filter(({ gate }) => gate?.holds).map(({ gate }) => gate.text);
    const declared = (report?.runs ?? []).flatMap(({ waiting }) => waiting.filter(({ why }) => why === "gate").map(({ text }) => text));
    return [...new Set([...registers, ...declared])].filter(Boolean);
  }

  const runRows = (view, now) => [...view.runs.values()].reverse().map((run) => runRow(view, run, now));

  function runRow(view, run, now) {
    const { status, tasks, finished, known, open, percent, left_s } = progress.ofRun(view, run, now), isDisputed = progress.isDisputed(view, run, now);
    return { source: run.source, run_id: run.run_id, target: run.target, status, started: fields.timestamp(run.started),
      ended: isDisputed ? null : fields.timestamp(run.ended), counts: progress.countsOf(view, run, now), tasks, finished, known, open, percent, left_s, error: isDisputed ? "" : run.error, by: progress.authorOf(view, run, status), token: run.token,
      attempt: run.attempt, failed: run.failed.map(({ task_id }) => task_id), interrupted: interruptedRows(view, run, now).map(({ task_id }) => task_id),
      held: progress.heldTexts(view, run, now) };
  }

  /** Return the tasks that ran when the process of a run died, or when its link broke. */
  function interruptedRows(view, run, now) {
    if (progress.ofRun(view, run, now).status !== runs.LOST) return [];
    return run.end?.interrupted ?? (run.reported?.running ?? []).map(({ task_id, task_name, since }) => ({ task_id, task_name, since }));
  }

  const constraintRows = (view, now) => [
    ...[...view.registers.keys()].sort(byText).map((topic) => constraintRow(view, topic, now)), ...keptRows(view, now)];

  function constraintRow(view, topic, now) {
    const { scope, type, params, id, by, expires_at } = view.registers.get(topic);
    const found = [...view.compliance(topic, now)];
    return { topic, scope, type, params: params ?? {}, id, by, expires_at,
      // Another id is that of the constraint which stood there before.
      applied: found.filter(([, row]) => row.status === "applied" && ["", id].includes(row.id)).map(([source]) => source),
      refused: found.filter(([, row]) => ["rejected", "refused", "unsupported"].includes(row.status))
        .map(([source, { reason }]) => ({ source, reason })),
      ...gates(view, topic, type, now) };
  }

  const gates = (view, topic, type, now) => (type.startsWith(words.GATE) ? { gates: gateRows(view, topic, now) } : {});

  /** Return what live engines say of the gate of a register. */
  const gateRows = (view, topic, now) => view.live(now).flatMap(({ source, constraints }) => (constraints?.effective ?? [])
    .filter((row) => row.topic === topic && row.type.startsWith(words.GATE) && row.gate).map(({ gate: { state, text } }) => ({ source, state, text })));

  /** Return a row for each constraint that live engines obey and the broker does not hold; none unless it shows what it holds. */
  function keptRows(view, now) {
    const kept = new Map();
    if (!view.has_retained || view.left_out) return [];
    for (const engine of view.live(now)) {
      if (!engine.constraints || engine.reportsOfAnother || ["idle", "stopped"].includes(engine.sync)) continue;
      for (const { topic, scope, type, params, id, by, expires_at } of engine.constraints.effective) {
        if (view.registers.has(topic)) continue;
        const row = kept.get(topic) ?? { topic, scope, type, params, id, by, expires_at, applied: [], refused: [], on_broker: false, ...gates(view, topic, type, now) };
        row.applied.push(engine.source);
        kept.set(topic, row);
      }
    }
    return [...kept.values()].sort((one, other) => byText(one.topic, other.topic));
  }

  /** Return the view that recorded messages make: `[{topic, payload, retained, received}]`, payloads as text or bytes. */
  function ofMessages(recorded) {
    const view = new View();
    let now = 0;
    for (const { topic, payload, retained = false, received = now } of recorded) {
      now = received;
      view.fold(topic, fields.asBytes(payload), { now, retained });
    }
    return dump(view, now);
  }

  return { View, coversAll, gateRows, keptRows, interruptedRows, runKey, runRow, same, byText, dump, ofMessages };
})();
