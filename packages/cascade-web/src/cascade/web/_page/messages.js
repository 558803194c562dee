"use strict";
/** One message of the wire, from its topic and its bytes: what `cascade.interfaces.wire.read` parses. No I/O. */
const messages = (() => {
  const { text, number, whole, flag, mapping, objects, seconds, bare, cut, isObject, isWhole } = fields;
  const MAX_NAME = 1000, MAX_ROWS = 500, MAX_TASKS = 200, MAX_RECENT = 50, MAX_STATES = 20;
  const MAX_GRAPHS = 100, MAX_NODES = 2000, MAX_EDGES = 10000, MAX_VALUES = 100;
  const MAX_REGISTER_BYTES = 65536, MAX_DATA_BYTES = 65536, MAX_REPORT_BYTES = 131072;

  /** Return the message on any topic of Cascade as `{is, ...}`, or null for one that is not understood. */
  function parse(topic, payload) {
    for (const read of [parseEvent, parseReport, parsePresence, parseRegister, parseAck]) {
      const message = read(topic, payload);
      if (message) return message;
    }
    return null;
  }

  const cleared = (topic) => ({ is: "cleared", topic });

  function parseEvent(topic, payload) {
    let found = fields.telemetryTopic(topic);
    if (!found || (found[3] === "data" && payload.length > MAX_DATA_BYTES)) return null;
    const data = fields.jsonObject(payload);
    if (!data || !Object.keys(data).length || !fields.isVersion1(data)) return null;
    const other = fields.telemetryTopic(fields.subjectTopic(topic) ?? "");
    if (other?.[3] === found[3] && ["org_id", "project_id", "run_id"].every((key, index) => data[key] === other[index])) found = other;
    const { run_id, body } = data;
    const seq = whole(data, "seq");
    if (!run_id || run_id !== found[2] || run_id.length > MAX_NAME || !isObject(body)) return null;
    if (seq === null && Object.hasOwn(data, "seq")) return null;
    return { is: "event", run_id, body, kind: found[3], org_id: found[0], project_id: found[1],
      source: text(data, "source"), seq, token: text(data, "token"), attempt: whole(data, "attempt") || 1,
      event_id: text(data, "event_id"), seconds: seconds(data), type: text(body, "type") };
  }

  function parsePresence(topic, payload) {
    const source = topic.length <= MAX_NAME ? fields.sourceTopic(topic, "status") : null;
    const data = source ? fields.jsonObject(payload) : null;
    if (!data) return null;
    if (!Object.keys(data).length) return cleared(topic);
    if (data.status !== "online" && data.status !== "offline") return null;
    return { is: "presence", source, online: data.status === "online", session: text(data, "session"),
      reason: text(data, "reason"), host: text(data, "host"), pid: whole(data, "pid"),
      version: text(data, "version"), seconds: seconds(data) };
  }

  function parseRegister(topic, payload) {
    if (topic === fields.STORE_TOPIC) return parseStore(payload);
    const found = topic.length <= MAX_NAME ? fields.constraintTopic(topic) : null;
    if (!found) return null;
    const [scope, kind] = found;
    if (payload.length > MAX_REGISTER_BYTES) return register(topic, scope, kind, "it is longer than 64 KiB");
    const data = fields.jsonObject(payload);
    if (!data) return register(topic, scope, kind, "it is not a JSON object");
    return Object.keys(data).length ? readRegister(topic, scope, kind, data) : cleared(topic);
  }

  function parseStore(payload) {
    const data = fields.jsonObject(payload);
    if (!data) return null;
    const store = text(data, "store");
    return store ? { is: "store", store } : cleared(fields.STORE_TOPIC);
  }

  const register = (topic, scope, type, problem = "") =>
    ({ is: "register", topic, scope, type, id: "", params: null, expires_at: null, by: "", problem });

  function readRegister(topic, scope, kind, data) {
    const named = text(data, "type");
    let problem = "";
    if (!named) problem = "it names no type";
    else if (kind !== "" && kind !== named) problem = `it names the type ${quoted(named)}, its topic ${quoted(kind)}`;
    else if (Object.hasOwn(data, "scope") && data.scope !== scope) problem = "it names another scope than its topic";
    const type = kind || named;
    return { ...register(topic, scope, type, problem), id: text(data, "id") || constraintId(scope, type),
      params: mapping(data, "params"), expires_at: number(data, "expires_at"), by: text(data, "by") };
  }

  /** Return text in quotes, as Python's `repr` does: the problem of a register reads the same everywhere. */
  function quoted(value) {
    const quote = value.includes("'") && !value.includes('"') ? '"' : "'";
    const inside = value.replaceAll("\\", "\\\\").replaceAll(quote, `\\${quote}`).replace(fields.HIDDEN, escaped);
    return quote + inside + quote;
  }

  const SHORT = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

  function escaped(char) {
    const code = char.codePointAt(0), hex = code.toString(16);
    if (char in SHORT) return SHORT[char];
    return code < 0x100 ? `\\x${hex.padStart(2, "0")}` : code < 0x10000 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
  }

  const constraintId = (scope, type) => `${type.replaceAll("_", "")}-${scope}`;

  const READERS = { constraints: readConstraints, runs: readRuns, graph: readGraphs, summary: readSummary, host: readHost };

  function parseReport(topic, payload) {
    const found = topic.length <= MAX_NAME ? fields.stateTopic(topic) : null;
    if (!found || !found[0] || !Object.hasOwn(READERS, found[1]) || payload.length > MAX_REPORT_BYTES) return null;
    const data = fields.jsonObject(payload);
    if (!data || !fields.isVersion1(data)) return null;
    if (!Object.keys(data).length) return cleared(topic);
    const [source, kind] = found;
    if (Object.hasOwn(data, "source") && data.source !== source) return null;
    return { is: kind, source, ...READERS[kind](data) };
  }

  function readConstraints(data) {
    const applied = Object.entries(mapping(data, "applied")).slice(0, MAX_ROWS).filter(([, row]) => isObject(row));
    return { session: text(data, "session"), sync: text(data, "sync"),
      applied: bare(applied.map(([topic, row]) => [topic, compliance(row)])),
      effective: objects(data, "effective", MAX_ROWS), in_scope_running: whole(data, "in_scope_running") || 0,
      more: whole(data, "more") || 0, seconds: seconds(data), presence: text(data, "presence") };
  }

  const compliance = (row) => ({ status: text(row, "status"), reason: text(row, "reason"), id: text(row, "id") });

  function readRuns(data) {
    return { session: text(data, "session"),
      runs: objects(data, "runs", MAX_ROWS).map(runRow).filter((row) => row.run_id),
      more: whole(data, "more") || 0, seconds: seconds(data), presence: text(data, "presence"),
      org_id: text(data, "org_id"), project_id: text(data, "project_id"), paused: flag(data, "paused"),
      recent: objects(data, "recent", MAX_RECENT).map(recentRow).filter((row) => row.run_id),
      recent_more: whole(data, "recent_more") || 0 };
  }

  function runRow(row) {
    const graph = mapping(row, "graph");
    const tasks = Object.entries(mapping(row, "tasks")).slice(0, MAX_TASKS).filter(([, each]) => isObject(each));
    return { run_id: text(row, "run_id"), target: text(row, "target"), started: seconds(row, "started"),
      counts: counts(row), attempt: whole(row, "attempt") || 1, known: whole(row, "known"), open: flag(row, "open"),
      eta_s: number(row, "eta_s"), name: text(row, "name"), tags: fields.tags(row),
      tasks: tasks.map(([name, each]) => totals(name, each)), tasks_more: whole(row, "tasks_more") || 0,
      running: objects(row, "running", MAX_TASKS).map(runningRow), running_more: whole(row, "running_more") || 0,
      waiting: objects(row, "waiting", MAX_TASKS).map(waitingRow), waiting_more: whole(row, "waiting_more") || 0,
      graph_rev: whole(graph, "rev"), graph_nodes: whole(graph, "nodes") || 0, lost: whole(row, "lost") || 0 };
  }

  function recentRow(row) {
    return { run_id: text(row, "run_id"), target: text(row, "target"), status: text(row, "status"),
      error: text(row, "error"), started: seconds(row, "started"), ended: seconds(row, "ended"),
      duration_ms: number(row, "duration_ms"), counts: counts(row), attempt: whole(row, "attempt") || 1,
      name: text(row, "name"), tags: fields.tags(row) };
  }

  const sum = (found) => Object.values(found).reduce((total, each) => total + each, 0);

  function totals(name, row) {
    const found = counts(row), ms = mapping(row, "ms"), known = whole(row, "known");
    return { name: cut(name), known: known === null ? sum(found) : known, counts: found, ended: whole(ms, "n") || 0,
      sum_ms: number(ms, "sum") || 0, max_ms: number(ms, "max") || 0 };
  }

  const runningRow = (row) => ({ task_id: text(row, "task_id"), task_name: text(row, "task_name"),
    since: seconds(row, "since"), done: number(row, "done"), total: number(row, "total"),
    message: text(row, "message"), unit: text(row, "unit"), paused: flag(row, "paused") || false });

  const waitingRow = (row) => ({ why: text(row, "why"), n: whole(row, "n") || 0, since: seconds(row, "since"),
    until: seconds(row, "until"), topic: text(row, "topic"), type: text(row, "type"), id: text(row, "id"),
    name: text(row, "name") });

  const counts = (row) => bare(Object.entries(mapping(row, "counts")).slice(0, MAX_STATES)
    .filter(([, count]) => isWhole(count)).map(([state, count]) => [cut(state), count]));

  function readGraphs(data) {
    return { session: text(data, "session"),
      runs: objects(data, "runs", MAX_GRAPHS).map(graph).filter((each) => each.run_id),
      more: whole(data, "more") || 0, seconds: seconds(data) };
  }

  function graph(row) {
    const nodes = objects(row, "nodes", MAX_NODES).map(node);
    const edges = Array.isArray(row.edges) ? row.edges.slice(0, MAX_EDGES) : [];
    return { run_id: text(row, "run_id"), rev: whole(row, "rev") || 0, folded: flag(row, "folded") || false, nodes,
      edges: edges.filter((each) => isEdge(each, nodes.length)).map(edge), more: whole(row, "more") || 0 };
  }

  function node(row) {
    const known = whole(row, "known");
    return { id: text(row, "id"), name: text(row, "name"), kind: text(row, "kind"), known: known === null ? 1 : known };
  }

  const isEdge = (value, nodes) => Array.isArray(value) && value.length > 1
    && value.slice(0, 2).every((each) => isWhole(each) && each < nodes);
  const edge = ([start, end, kind]) => ({ start, end, kind: typeof kind === "string" ? cut(kind) : "" });

  function readSummary(data) {
    const found = { up: Boolean(number(data, "up")) || flag(data, "up") || false, paused: flag(data, "paused") || false,
      last_status: text(data, "last_status"), seconds: seconds(data) };
    for (const name of ["runs", "running", "waiting", "completed", "failed"]) found[name] = whole(data, name) || 0;
    return found;
  }

  const HEAD = ["v", "source", "session", "presence", "ts"];

  function readHost(data) {
    const values = Object.entries(scalars(data)).filter(([name]) => !HEAD.includes(name));
    return { values: bare(values), memory: scalars(mapping(data, "memory")), link: scalars(mapping(data, "link")),
      labels: scalars(mapping(data, "labels")), seconds: seconds(data) };
  }

  function scalars(data) {
    const kept = Object.entries(data).slice(0, MAX_VALUES).map(([name, value]) => [cut(name), scalar(value)]);
    return bare(kept.filter(([, value]) => value !== undefined));
  }

  function scalar(value) {
    if (typeof value === "string") return cut(value);
    if (typeof value === "number" && !Number.isFinite(value)) return null;
    return value === null || fields.isScalar(value) ? value : undefined;
  }

  function parseAck(topic, payload) {
    const source = topic.length <= MAX_NAME ? fields.sourceTopic(topic, "ack") : null;
    const data = source && payload.length <= MAX_REPORT_BYTES ? fields.jsonObject(payload) : null;
    if (!data || !fields.isVersion1(data)) return null;
    return Object.keys(data).length ? { is: "ack", source, ...readAck(data) } : cleared(topic);
  }

  function readAck(data) {
    const upto = mapping(data, "upto"), missing = mapping(data, "missing");
    const names = Object.keys(upto).slice(0, fields.MAX_TEXT);
    return { by: text(data, "by"), upto: bare(names.filter((name) => isWhole(upto[name])).map((name) => [name, upto[name]])),
      missing: bare(names.map((name) => [name, holes(missing[name])]).filter(([, each]) => each.length)) };
  }

  const holes = (value) => (Array.isArray(value) ? value.slice(0, fields.MAX_TEXT) : []).filter((pair) =>
    Array.isArray(pair) && pair.length === 2 && pair.every(isWhole) && pair[0] <= pair[1]);

  return { parse, constraintId };
})();
