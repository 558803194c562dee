"use strict";
/** Values of JSON that anyone may have written, and topics: the rules of `cascade.interfaces`. No I/O. */
const fields = (() => {
  const MAX_BYTES = 1 << 20, MAX_TEXT = 1000;
  const encoder = new TextEncoder();
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  /** Characters that could turn, hide or end a line. */
  const HIDDEN = /[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu;
  const SURROGATE = /\\u[dD][89a-fA-F]/;

  const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
  /** An object without inherited names: `__proto__` and `constructor` are keys like others. */
  const bare = (entries = []) => {
    const found = Object.create(null);
    for (const [key, value] of entries) found[key] = value;
    return found;
  };

  /** Return the first `count` characters, as Python counts them. */
  function cut(text, count = MAX_TEXT) {
    return text.length <= count ? text : Array.from(text.slice(0, 2 * count)).slice(0, count).join("");
  }

  const asBytes = (payload) => (typeof payload === "string" ? encoder.encode(payload) : payload);

  /** Return the object in a payload, `{}` for an empty one, null for anything else. NaN becomes null. */
  function jsonObject(payload) {
    if (payload.length === 0) return {};
    if (payload.length > MAX_BYTES) return null;
    try {
      const text = decoder.decode(payload);
      const data = SURROGATE.test(text) ? wellFormed(decode(text)) : decode(text);
      return isObject(data) ? data : null;
    } catch {
      return null;
    }
  }

  function decode(text) {
    try {
      return JSON.parse(text);
    } catch {
      const tokens = /"(?:[^"\\]|\\.)*"|-?\b(?:NaN|Infinity)\b/g;
      return JSON.parse(text.replace(tokens, (found) => (found[0] === '"' ? found : "null")));
    }
  }

  /** Replace lone surrogates, which JSON can name and no topic can hold. */
  const wellFormed = (data) => JSON.parse(
    JSON.stringify(data).replace(/\\(?:(ud[89a-f]..)|.)/g, (found, lone) => (lone ? "?" : found)));

  function isVersion1(data) {
    return !Object.hasOwn(data, "v") || (typeof data.v === "string" && data.v.startsWith("1."));
  }

  const text = (data, key) => (typeof data[key] === "string" ? cut(data[key]) : "");
  const number = (data, key) => (isNumber(data[key]) ? data[key] : null);
  const whole = (data, key) => (isWhole(data[key]) ? data[key] : null);
  const isWhole = (value) => Number.isInteger(value) && value >= 0 && value < 2 ** 63;
  const flag = (data, key) => (typeof data[key] === "boolean" ? data[key] : null);
  const mapping = (data, key) => (isObject(data[key]) ? data[key] : {});

  /** Return the value at `key`, or what stands for a missing one. @throws {TypeError} if it is wrong: that leaves out its row. */
  function right(data, key, isRight, missing) {
    if (!Object.hasOwn(data, key)) return missing;
    if (!isRight(data[key])) throw new TypeError(key);
    return typeof data[key] === "string" ? cut(data[key]) : data[key];
  }

  const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
  /** Readers of the values of a row. */
  const row = {
    text: (data, key) => right(data, key, (value) => typeof value === "string", ""),
    number: (data, key, missing = 0) => right(data, key, isNumber, missing),
    /** A number, or null where there may be none. */
    maybe: (data, key) => right(data, key, (value) => value === null || isNumber(value), null),
    whole: (data, key, missing = 0) => right(data, key, isWhole, missing),
    attempt: (data) => right(data, "attempt", (value) => isWhole(value) && value > 0, 1),
    flag: (data, key, missing = false) => right(data, key, (value) => typeof value === "boolean", missing),
    seconds: (data, key) => seconds({ [key]: row.text(data, key) }, key),
    mapping: (data, key) => right(data, key, isObject, {}),
    list: (data, key) => right(data, key, Array.isArray, []),
    counts: (data) => values(data, "counts", isWhole),
    tags: (data) => values(data, "tags", isScalar),
  };

  function values(data, key, isRight) {
    const found = row.mapping(data, key);
    return bare(Object.keys(found).map((name) => [cut(name), right(found, name, isRight)]));
  }

  /** Return what a row says, or null if one of its values is wrong. */
  function rowOf(data, read) {
    try {
      return isObject(data) ? read(data) : null;
    } catch {
      return null;
    }
  }

  /** Return the rows of a list without those that are wrong. */
  const rowsOf = (list, read) => list.map((each) => rowOf(each, read)).filter(Boolean);
  /** Return the rows of an object with their names, without those that are wrong. */
  const namedRows = (found, read) => Object.entries(found).map(([name, each]) => [cut(name), rowOf(each, read)]).filter(([, each]) => each);
  const list = (data, key) => (Array.isArray(data[key]) ? data[key] : []);

  const TIME = /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?(?:(Z)|([+-])(\d\d):?(\d\d)(?::?(\d\d))?)?)?$/;

  /** Return the ISO 8601 time at `key` as seconds since the epoch, or null. */
  function seconds(data, key = "ts") {
    const found = TIME.exec(text(data, key));
    if (!found) return null;
    const [year, month, day, hour, minute, second] = found.slice(1, 7).map((each) => Number(each ?? 0));
    const date = new Date(Date.UTC(year, month - 1, day, hour, minute, second));
    if (date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day || hour > 23 || minute > 59 || second > 59) return null;
    const zoned = found[8] || found[9];
    const start = zoned ? date.getTime() : new Date(year, month - 1, day, hour, minute, second).getTime();
    const offset = (found[9] === "-" ? -1 : 1) * (Number(found[10] ?? 0) * 3600 + Number(found[11] ?? 0) * 60 + Number(found[12] ?? 0));
    const micros = Number((found[7] ?? "").slice(0, 6).padEnd(6, "0"));
    return ((start / 1000 - offset) * 1e6 + micros) / 1e6;
  }

  /** Return seconds since the epoch as the wire writes them. */
  function timestamp(value) {
    if (value === null) return null;
    const micros = Math.round(value * 1e6);
    const rest = ((micros % 1e6) + 1e6) % 1e6;
    return `${new Date((micros - rest) / 1000).toISOString().slice(0, 19)}.${String(rest).padStart(6, "0")}+00:00`;
  }

  const isScalar = (value) => ["string", "number", "boolean"].includes(typeof value);

  const RESERVED = /[/+#% \u0000-\u001f\u007f-\u009f\ufdd0-\ufdef]|^[$@]|[\p{Cs}]|[\ufffe\uffff]/gu;
  const isNoncharacter = (char) => (char.codePointAt(0) & 0xfffe) === 0xfffe;
  const percent = (char) => [...encoder.encode(char)].map((each) => `%${each.toString(16).toUpperCase().padStart(2, "0")}`).join("");

  /** Return text as one topic level that any broker accepts. */
  function encodeLevel(text) {
    return Array.from(text.replace(RESERVED, percent), (char) => (isNoncharacter(char) ? percent(char) : char)).join("");
  }

  /** Return the text that a level was made of. @throws {TypeError} if its bytes are not UTF-8. */
  function decodeLevel(level) {
    if (!level.includes("%")) return level;
    const bytes = [];
    for (let at = 0; at < level.length;) {
      const hex = /^%([0-9a-fA-F]{2})/.exec(level.slice(at, at + 3));
      const char = hex ? "" : String.fromCodePoint(level.codePointAt(at));
      bytes.push(...(hex ? [parseInt(hex[1], 16)] : encoder.encode(char)));
      at += hex ? 3 : char.length;
    }
    return decoder.decode(Uint8Array.from(bytes));
  }

  function decoded(levels) {
    try {
      return levels.map(decodeLevel);
    } catch {
      return null;
    }
  }

  /** Return `[org_id, project_id, run_id, kind]`, or null. */
  function telemetryTopic(topic) {
    const levels = topic.split("/");
    if (levels.length !== 6 || levels[0] !== "cascade" || levels[1] !== "telemetry") return null;
    const names = decoded(levels.slice(2, 5));
    return names && [...names, levels[5]];
  }

  /** Return the topic of a subject of NATS, as nats-server shows it to MQTT clients: `=2E` is a dot. Null for any other topic. */
  function subjectTopic(topic) {
    if (topic.length > 1000 || !topic.includes("=") || !/^[\w=/-]+$/.test(topic)) return null;
    const names = decoded(topic.split("/").map((level) => (level === "=" ? "" : level.replace(/=([0-9A-F]{2})/g, "%$1"))));
    return names && names.join("/");
  }

  /** Return `[source, kind]` of `cascade/state/{source}/{kind}`, or null. */
  function stateTopic(topic) {
    const levels = topic.split("/");
    if (levels.length !== 4 || levels[0] !== "cascade" || levels[1] !== "state") return null;
    const names = decoded([levels[2]]);
    return names && [names[0], levels[3]];
  }

  function sourceTopic(topic, kind) {
    const levels = topic.split("/");
    if (levels.length !== 3 || levels[0] !== "cascade" || levels[1] !== kind || !levels[2]) return null;
    return decoded([levels[2]])?.[0] ?? null;
  }

  const CONSTRAINTS = "cascade/constraints/";
  const STORE_TOPIC = "cascade/constraints/@store";

  /** Return `[scope, type]` of a register's topic, or null; the type is empty in the short form. */
  function constraintTopic(topic) {
    if (!topic.startsWith(CONSTRAINTS)) return null;
    const levels = topic.slice(CONSTRAINTS.length).split("/");
    const kind = levels.at(-1).startsWith("@") ? levels.pop().slice(1) : "";
    if (![1, 2].includes(levels.length) || levels.includes("") || topic.endsWith("/@")) return null;
    const names = decoded([...levels, kind]);
    return names && [names.slice(0, -1).join(":"), names.at(-1)];
  }

  /** Return the topic of a register, such as `task:resize*` and `pause`. */
  function registerTopic(scope, kind = "") {
    const at = scope.indexOf(":");
    const parts = at < 0 ? [scope] : [scope.slice(0, at), scope.slice(at + 1)].filter(Boolean);
    return CONSTRAINTS + [...parts.map(encodeLevel), ...(kind ? [`@${encodeLevel(kind)}`] : [])].join("/");
  }

  return { isObject, bare, cut, asBytes, jsonObject, isVersion1, text, number, whole, isWhole, flag, mapping, list, row,
    rowOf, rowsOf, namedRows, seconds, timestamp, isScalar, encodeLevel, telemetryTopic, subjectTopic, stateTopic, sourceTopic, constraintTopic,
    registerTopic, STORE_TOPIC, MAX_TEXT, HIDDEN };
})();
