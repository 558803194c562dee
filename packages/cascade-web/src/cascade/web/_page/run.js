"use strict";
/** One run, as its events and its engine's reports show it: `RunView` of `cascade.wire`. No I/O. */
const runs = (() => {
  const RUNNING = "Running", LOST = "Lost", ENDED = "Ended";
  const STATES = ["RUNNING", "COMPLETED", "FAILED", "SKIPPED", "BLOCKED", "RETRYING", "CANCELLED"];
  const TERMINAL = ["COMPLETED", "FAILED", "SKIPPED", "CANCELLED"];
  const STATUSES = ["Succeeded", "Failed", "Cancelled"], ENDS = [...STATUSES, LOST];
  const MAX_FAILURES = 100, FIRST_FAILURES = 20, MAX_SERIES = 32, MAX_HOLES = 1000, MAX_IDS = 4096;
  const { bare } = fields;

  /** How many tasks may still be remembered, over all runs of a view. */
  class Room {
    constructor(left = 200_000) { this.left = left; }
  }

  /** Which messages of one series have arrived: duplicates and holes. */
  class Received {
    constructor() {
      this.messages = 0;
      this.duplicates = 0;
      this.missing = 0;
      this.next = 0;
      // first and last `seq` of each, in order
      this.holes = [];
      this.ids = new Set();
    }

    /** Count a message; return false if it is a duplicate. */
    add(event) {
      this.messages += 1;
      let fresh = event.seq === null || this.fill(event.seq);
      if (event.event_id !== madeId(event)) fresh = this.remember(event.event_id);
      if (!fresh) this.duplicates += 1;
      return fresh;
    }

    fill(seq) {
      if (seq < this.next) return this.fillHole(seq);
      if (seq > this.next) {
        this.holes.push([this.next, seq - 1]);
        this.missing += seq - this.next;
        this.forgetHoles();
      }
      this.next = seq + 1;
      return true;
    }

    fillHole(seq) {
      const at = this.holes.findIndex(([first, last]) => first <= seq && seq <= last);
      if (at < 0) return false;
      const [first, last] = this.holes[at];
      this.holes.splice(at, 1, ...[[first, seq - 1], [seq + 1, last]].filter(([from, to]) => from <= to));
      this.forgetHoles();
      this.missing -= 1;
      return true;
    }

    forgetHoles() { this.holes.splice(0, Math.max(0, this.holes.length - MAX_HOLES)); }

    remember(id) {
      if (!id) return true;
      if (this.ids.has(id)) return false;
      this.ids.add(id);
      if (this.ids.size > MAX_IDS) this.ids.delete(this.ids.values().next().value);
      return true;
    }
  }

  const madeId = ({ run_id, token, kind, seq }) => `${run_id}-${token}-${kind === "events" ? "" : `${kind}-`}${seq}`;

  class RunView {
    constructor(source, run_id, room = new Room()) {
      Object.assign(this, { source, run_id, room, place: null, token: "", attempt: 1, status: RUNNING, target: "", name: "",
        tags: bare(), started: null, ended: null, error: "", by: "", tasks: new Map(), failures: [], firstFailures: [], reported: null,
        recent: null, end: null, series: new Map(), folded: new Map(), skippedAsRecorded: 0, exact: true, stopped: false, listed: false });
    }

    /** Take one event of this run; return false if it is a duplicate, which changes nothing else. */
    fold(event) {
      const unknown = ![...this.series.values()].some((each) => each.token === event.token);
      if (!this.received(event).add(event)) return false;
      if (event.token !== this.token) {
        // late, of an earlier attempt, or made up: the engine lists another one as active
        if (!unknown || event.attempt < this.attempt || this.isActiveElsewhere(event.token)) return true;
        this.begin(event);
      }
      if (!event.content) return true;
      if (event.type === "TaskStateEvent") this.foldTask(event);
      else if (event.type === "LifecycleEvent") this.foldLifecycle(event);
      else if (event.type === "ProgressEvent") this.foldProgress(event);
      return true;
    }

    /** Take a row of the engine's report of its runs. */
    report(row) {
      // the report of its end has overtaken this one
      if (row.token && row.token === this.recent?.token && this.recent.status !== LOST) return;
      // the run_id is used again, or events have forged an attempt
      if (this.recent || this.isAnother(row.token)) this.startAnew();
      this.takeToken(row);
      this.listed = true;
      this.reported = row;
      this.take(row);
      this.started ??= row.started;
      if (!this.stopped) this.status = RUNNING;
    }

    /** Whether such a row has told of this end before. */
    hasEnd(row) {
      const last = row.failures ? this.end : this.recent;
      return Boolean(last) && ["token", "status", "ended"].every((key) => last[key] === row[key]);
    }

    /** Take a row of the engine's report of the runs that have ended. */
    reportEnd(row) {
      if (this.isBeforeEnd(row)) return;
      if (this.isAnother(row.token)) this.startAnew();
      else if (!row.token && row.ended !== null && this.started !== null && row.ended < this.started) return;
      this.takeToken(row);
      this.listed = false;
      this.recent = row;
      if (row.failures) this.end = row;
      this.by = row.by;
      this.take(row);
      this.started ??= row.started;
      if (!this.stopped) {
        this.status = ENDS.includes(row.status) ? row.status : ENDED;
        this.error = row.error;
        this.ended = row.ended;
      }
      this.forgetTasks();
    }

    take(row) {
      this.target = row.target;
      this.name = row.name || this.name;
      if (Object.keys(row.tags).length) this.tags = row.tags;
    }

    /** The engine no longer reports this run; reports overtake its last events. */
    unlisted() { this.leave(ENDED); }

    /** Another process reports under the name of the one that ran this run. */
    lost() { this.leave(LOST); }

    leave(status) {
      this.listed = false;
      if (!this.stopped && !this.recent) this.status = status;
    }

    /** Whether a row is of an earlier attempt, which ended before the end that the engine reports. */
    isBeforeEnd(row) {
      const last = this.recent;
      return Boolean(last?.token && row.token) && row.token !== last.token && (row.ended ?? 0) < (last.ended ?? 0);
    }

    isAnother(token) { return Boolean(token && this.token) && token !== this.token; }

    /** Whether the engine lists an attempt with another token as active, and that one has not ended. */
    isActiveElsewhere(token) {
      const active = this.listed && this.reported ? this.reported.token : "";
      return Boolean(active) && token !== active && !this.stopped;
    }

    startAnew() {
      this.beginAttempt();
      this.token = "";
      this.started = null;
    }

    takeToken(row) {
      if (!row.token || this.token) return;
      this.token = row.token;
      this.attempt = row.attempt;
      // its earlier events were not counted
      this.exact = !this.series.has(`${row.token}\n events`);
    }

    forgetTasks() {
      this.room.left += this.tasks.size;
      this.tasks.clear();
    }

    /** Tasks by state: from the events if all have arrived and no report has seen more tasks end, else from the report. */
    get counts() {
      return this.countedBy?.counts ?? bare([...this.folded].filter(([, count]) => count));
    }

    /** Tasks that were skipped because an earlier attempt has recorded them; from the same source as `counts`. */
    get recorded() { return this.countedBy?.recorded ?? this.skippedAsRecorded; }

    /** The row of a report that counts, or null where the events do. */
    get countedBy() {
      const complete = this.exact && this.series.has(`${this.token}\n events`) && !this.missing;
      // The last events of a process that was killed have not left it: no gap shows that, but its last report does.
      if (this.recent || !this.reported) return this.recent;
      const ended = (counts) => [...TERMINAL].reduce((sum, state) => sum + (counts[state] ?? 0), 0);
      return complete && ended(this.reported.counts) <= ended(Object.fromEntries(this.folded)) ? null : this.reported;
    }

    /** Tasks that the engine knows, as it has last reported; 0 before that. */
    get known() { return (this.recent ?? this.reported)?.known ?? 0; }

    /** The first tasks that failed, at most 20, of those whose failure a report or an event has shown. */
    get failed() {
      const reported = this.end?.failures ?? [];
      return reported.length >= this.firstFailures.length ? reported : this.firstFailures.map((task) => ({
        task_id: task.task_id, task_name: task.name, error: task.error, attempt: task.attempt, ended: task.since ?? 0 }));
    }

    /** Whether the counts are made of events of which some did not arrive: no report has come that makes up for them. */
    get partial() { return !this.recent && !this.reported && (this.missing > 0 || !this.exact); }

    get messages() { return this.total("messages"); }
    get duplicates() { return this.total("duplicates"); }
    get missing() { return this.total("missing"); }
    total(name) {
      let found = 0;
      for (const each of this.series.values()) found += each.received[name];
      return found;
    }

    received({ token, kind }) {
      const key = `${token}\n ${kind}`;
      if (!this.series.has(key)) {
        this.series.set(key, { token, kind, received: new Received() });
        if (this.series.size > MAX_SERIES) this.series.delete(this.series.keys().next().value);
      }
      return this.series.get(key)?.received ?? new Received();
    }

    begin(event) {
      if (this.token) {
        this.started = null;
        this.reported = null;
      }
      this.beginAttempt();
      this.token = event.token;
      this.attempt = event.attempt;
    }

    beginAttempt() {
      this.forgetTasks();
      Object.assign(this, { status: RUNNING, error: "", by: "", ended: null, recent: null, end: null, failures: [], firstFailures: [], exact: true, stopped: false });
      this.folded.clear();
      this.skippedAsRecorded = 0;
    }

    foldLifecycle({ content: body, seconds }) {
      if (body.event === "ENGINE_STARTED") {
        this.started = seconds;
        this.name = body.name;
        this.tags = body.tags;
      } else if (body.event === "ENGINE_STOPPED") {
        this.status = STATUSES.includes(body.status) ? body.status : ENDED;
        this.error = body.error;
        this.by = body.by;
        this.ended = seconds;
        this.stopped = true;
        this.forgetTasks();
      }
    }

    foldTask(event) {
      const task = { ...event.content, since: event.seconds, done: null, total: null, message: "", unit: "" };
      if (!STATES.includes(task.state) || !task.task_id || this.stopped) return;
      const before = this.tasks.get(task.task_id);
      if (before) {
        this.tasks.delete(task.task_id);
        this.count(before.state, -1);
        this.room.left += 1;
        task.done = before.done;
        task.total = before.total;
        task.message = before.message;
        task.unit = before.unit;
      }
      if (task.state === "FAILED" && this.firstFailures.length < FIRST_FAILURES) this.firstFailures.push(task);
      if (task.state === "FAILED" && this.failures.push(task) > MAX_FAILURES) this.failures.shift();
      if (!TERMINAL.includes(task.state)) {
        // what is not remembered is counted when it ends
        if (this.room.left <= 0) {
          this.exact = false;
          return;
        }
        this.room.left -= 1;
        this.tasks.set(task.task_id, task);
      }
      this.count(task.state, 1);
      if (task.state === "SKIPPED" && progress.isRecorded(task.reason)) this.skippedAsRecorded += 1;
    }

    count(state, by) { this.folded.set(state, (this.folded.get(state) ?? 0) + by); }

    foldProgress({ content: { task_id, done, total, message, unit } }) {
      const task = this.tasks.get(task_id);
      if (task) Object.assign(task, { done, total, message, unit });
    }
  }

  return { Room, RunView, RUNNING, LOST, ENDED, TERMINAL };
})();
