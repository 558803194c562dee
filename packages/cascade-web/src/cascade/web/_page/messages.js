"use strict";
/** One message of the wire, from its topic and its bytes: what `cascade.wire` parses. No I/O. */
const messages = (() => {
  const { text, whole, flag, mapping, list, row, rowOf, rowsOf, namedRows, seconds, bare, cut, isObject, isWhole } = fields;
  const MAX_NAME = 1000;
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
      event_id: text(data, "event_id"), seconds: seconds(data), type: text(body, "type"), content: readBody(body) };
  }

  const { text: str, number: num, whole: int, flag: bool, seconds: time, maybe, attempt, counts, tags } = row;
  /** Return a reader of rows with these keys. @throws {TypeError} if a value is wrong, or the one `named` is an empty text. */
  const shaped = (readers, named = "") => (data) => {
    const found = {};
    for (const [key, read] of Object.entries(readers)) found[key] = read(data, key);
    if (named && !found[named]) throw new TypeError(named);
    return found;
  };
  const as = (read, key) => (data) => read(data, key);
  const orNull = (data, key) => (data[key] === null ? null : int(data, key, null));
  const TASK = { task_id: str, task_name: str };

  const BODIES = {
    TaskStateEvent: shaped({ task_id: str, name: as(str, "task_name"), state: str, duration_ms: num,
      error: str, reason: str, attempt, parent: str, item: orNull, node: str }),
    LifecycleEvent: shaped({ event: str, name: str, tags, kept: int, status: str, error: str, by: str }),
    ProgressEvent: shaped({ ...TASK, done: num, total: maybe, message: str, unit: str }),
    LogEvent: shaped({ ...TASK, level: str, logger: str, message: str, skipped: int }),
    DataEvent: shaped({ ...TASK, name: str, data: (body) => body.data ?? null }, "name"),
  };

  /** Return what a body says, or null if its type is not known or one of its values is wrong. */
  function readBody(body) {
    return Object.hasOwn(BODIES, body.type) ? rowOf(body, BODIES[body.type]) : null;
  }

  function parsePresence(topic, payload) {
    const source = topic.length <= MAX_NAME ? fields.sourceTopic(topic, "status") : null;
    const data = source ? fields.jsonObject(payload) : null;
    if (!data) return null;
    if (!Object.keys(data).length) return cleared(topic);
    if (data.status !== "online" && data.status !== "offline") return null;
    const found = { is: "presence", source, online: data.status === "online", session: text(data, "session"),
      reason: "", host: "", pid: null, version: "", seconds: null };
    return found.online ? { ...found, host: text(data, "host"), pid: whole(data, "pid") || null, version: text(data, "version"), seconds: seconds(data) }
      : { ...found, reason: text(data, "reason") };
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

  const content = shaped({ type: str, scope: str, id: str, params: row.mapping, expires_at: maybe, by: str });

  function readRegister(topic, scope, kind, data) {
    const found = rowOf(data, content);
    if (!found) return register(topic, scope, kind, "one of its values has a wrong type");
    let problem = "";
    if (topic !== fields.registerTopic(scope, kind)) problem = `only ${fields.registerTopic(scope, kind)} is a register of this scope`;
    else if (!found.type) problem = "it names no type";
    else if (kind !== "" && kind !== found.type) problem = `it names the type ${quoted(found.type)}, its topic ${quoted(kind)}`;
    else if (Object.hasOwn(data, "scope") && data.scope !== scope) problem = "it names another scope than its topic";
    const type = kind || found.type;
    return { ...register(topic, scope, type, problem), id: found.id || constraintId(scope, type),
      params: found.params, expires_at: found.expires_at, by: found.by };
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

  const orZero = (data, key) => whole(data, key) || 0, orFalse = (data, key) => flag(data, key) || false;
  const rowsIn = (read) => (data, key) => rowsOf(list(data, key), read);
  const HEAD = { session: text, presence: text, seconds: (data) => seconds(data) };

  const appliedEntry = shaped({ status: str, reason: str, id: str, by: str });
  const gateValue = (data, key) => (data[key] == null ? null : typeof data[key] === "string" ? data[key] : num(data, key));
  const gateEntry = shaped({ state: str, holds: bool, value: gateValue, since: time, text: str });
  const effectiveEntry = shaped({ scope: str, type: str, params: row.mapping, topic: str, id: str,
    expires_at: maybe, by: str, gate: (data, key) => (Object.hasOwn(data, key) ? gateEntry(row.mapping(data, key)) : null) });

  const inside = (key, part, read) => (data) => read(row.mapping(data, key), part);
  const rowsAt = (read) => (data, key) => rowsOf(row.list(data, key), read);
  const known = (data, key) => int(data, key, Object.values(counts(data)).reduce((total, each) => total + each, 0));
  const totals = shaped({ known, counts, ended: inside("ms", "n", int), sum_ms: inside("ms", "sum", num),
    max_ms: inside("ms", "max", num) });
  const runningRow = shaped({ ...TASK, since: time, done: maybe, total: maybe, message: str, unit: str, paused: bool });
  const waitingRow = shaped({ why: str, n: int, since: time, until: time, topic: str, type: str,
    id: str, name: str, text: str });
  const RUN = { run_id: str, token: str, target: str, started: time, counts, recorded: int, attempt, name: str, tags };
  const byName = (data, key) => namedRows(row.mapping(data, key), totals).map(([name, each]) => ({ name, ...each }));
  const runRow = shaped({ ...RUN, known, open: (data, key) => bool(data, key, true), eta_s: maybe, tasks: byName, tasks_more: int,
    running: rowsAt(runningRow), running_more: int, waiting: rowsAt(waitingRow), waiting_more: int,
    graph_rev: inside("graph", "rev", int), graph_nodes: inside("graph", "nodes", int), lost: int }, "run_id");
  const RECENT = { ...RUN, known, status: str, error: str, by: str, ended: time, duration_ms: maybe };
  const recentRow = shaped(RECENT, "run_id");

  const graphRow = shaped({ run_id: str, rev: int, folded: bool, more: int,
    nodes: (data, key) => row.list(data, key).map((each) => node(isObject(each) ? each : wrong())) }, "run_id");
  const NODE = { id: str, name: str, kind: str, known: (data, key) => int(data, key, 1) }, node = shaped(NODE);

  function graph(data) {
    const found = graphRow(data);
    return { ...found, edges: row.list(data, "edges").map((each) => edge(each, found.nodes.length)) };
  }

  function wrong() { throw new TypeError("a row"); }

  function edge(value, nodes) {
    const isIndex = (each) => isWhole(each) && each < nodes;
    if (!Array.isArray(value) || value.length < 2 || !value.every((each, at) =>
      (at < 2 ? isIndex(each) : typeof each === "string" || Number.isInteger(each)))) wrong();
    return { start: value[0], end: value[1], kind: typeof value[2] === "string" ? value[2] : "" };
  }

  const failedRow = shaped({ ...TASK, error: str, attempt, ended: time }), interruptedRow = shaped({ ...TASK, since: time });
  const endedNode = shaped({ ...NODE, counts });
  const endedGraph = shaped({ nodes: (data, key) => row.list(data, key).map((each) => endedNode(isObject(each) ? each : wrong())),
    edges: (data, key) => row.list(data, key).map((each) => edge(each, row.list(data, "nodes").length)), more: int });
  const endedRow = shaped({ ...RECENT, tasks: byName, tasks_more: int, failures: rowsAt(failedRow), failures_more: int,
    interrupted: rowsAt(interruptedRow), interrupted_more: int,
    graph: (data, key) => (data[key] === undefined ? null : endedGraph(row.mapping(data, key))) }, "run_id");

  const nullable = (read) => (data, key) => (data[key] == null ? null : row.mapping(data, key) && read(data[key]));
  const textOrNull = (data, key) => (data[key] === null ? null : Object.hasOwn(data, key) ? str(data, key) : null);
  const skippedTick = shaped({ at: str, code: str, reason: str });
  const schedule = shaped({ cron: textOrNull, every: textOrNull, tz: textOrNull, text: str, next: textOrNull, skipped: nullable(skippedTick), problem: str });
  const lease = shaped({ name: str, ttl: num, held: bool, holder: str, term: int, since: str }, "name");
  const offerRow = shaped({ name: str, doc: str, params: row.mapping, overlap: str, accepting: bool, digest: str,
    last: nullable(shaped({ run_id: str, status: str, ended: time })), last_success: str, schedule: nullable(schedule), missed: str,
    lease: nullable(lease) }, "name");
  const memory = shaped({ total: orNull, available: orNull });
  const READERS = {
    constraints: shaped({ ...HEAD, sync: text, in_scope_running: orZero, more: orZero, contested: orFalse, effective: rowsIn(effectiveEntry),
      applied: (data, key) => bare(namedRows(mapping(data, key), appliedEntry)) }),
    runs: shaped({ ...HEAD, runs: rowsIn(runRow), more: orZero, org_id: text, project_id: text, paused: flag,
      recent: rowsIn(recentRow), recent_more: orZero, contested: orFalse }),
    graph: shaped({ ...HEAD, runs: rowsIn(graph), more: orZero }),
    ended: shaped({ ...HEAD, runs: rowsIn(endedRow) }),
    summary: shaped({ up: (data, key) => Boolean(whole(data, key) || flag(data, key)), paused: orFalse, last_status: text,
      seconds: HEAD.seconds, runs: orZero, running: orZero, waiting: orZero, completed: orZero, failed: orZero }),
    workflows: shaped({ ...HEAD, more: orZero, problem: text, workflows: rowsIn(offerRow) }),
    host: shaped({ ...HEAD, os: text, machine: text, python: text, cascade: text, cpus: whole, rss: whole, load1: fields.number,
      memory: (data, key) => rowOf(data[key], memory) ?? memory({}), labels: (data, key) => rowOf({ tags: data[key] ?? {} }, tags) ?? bare(),
      link: (data, key) => rowOf({ counts: data[key] ?? {} }, counts) ?? bare() }),
  };

  function parseAck(topic, payload) {
    const source = topic.length <= MAX_NAME ? fields.sourceTopic(topic, "ack") : null;
    const data = source && payload.length <= MAX_REPORT_BYTES ? fields.jsonObject(payload) : null;
    if (!data || !fields.isVersion1(data)) return null;
    return Object.keys(data).length ? { is: "ack", source, ...readAck(data) } : cleared(topic);
  }

  /** A run of which the holes cannot be read is left out. */
  function readAck(data) {
    const upto = mapping(data, "upto"), missing = data.missing ?? (Object.hasOwn(data, "missing") ? null : {});
    const isRight = (name) => isWhole(upto[name]) && isObject(missing) && (!Object.hasOwn(missing, name) || areHoles(missing[name]));
    const names = Object.keys(upto).filter(isRight);
    const kept = (found) => bare(names.filter((name) => Object.hasOwn(found, name)).map((name) => [cut(name), found[name]]));
    return { by: text(data, "by"), upto: kept(upto), missing: isObject(missing) ? kept(missing) : bare() };
  }

  const areHoles = (value) => Array.isArray(value) && value.every((pair) =>
    Array.isArray(pair) && pair.length === 2 && pair.every(isWhole) && pair[0] <= pair[1]);

  return { parse, constraintId };
})();
