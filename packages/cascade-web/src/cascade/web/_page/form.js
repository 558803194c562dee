"use strict";
/** Forms made from the JSON Schema of parameters: their fields, and the JSON value of what somebody enters. No I/O. */
const forms = (() => {
  const MAX_FIELDS = 100, MAX_PARTS = 50, MAX_DEPTH = 8;
  const { isObject } = fields;
  const own = (data, key) => (isObject(data) && Object.hasOwn(data, key) ? data[key] : undefined);
  const NEEDS = { integer: "a whole number", number: "a number such as 1.5", string: "a text", boolean: "true or false", array: "a JSON array such as [1, 2]", object: 'a JSON object such as {"a": 1}',
    date: "a date such as 2026-11-21", "date-time": "a time such as 2026-11-21T03:00", time: "a time of day such as 03:00" };
  const INPUTS = { date: "date", "date-time": "datetime-local", time: "time" };
  // what the fields of a browser hold: neither a zone nor a fraction of a second
  const LOCAL = { date: /^\d{4}-\d\d-\d\d$/, "date-time": /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?$/, time: /^\d\d:\d\d(:\d\d)?$/ };

  /**
   * Return `{list, more}`: the fields of a schema, and how many are left out.
   * A field is `{name, kind, required, nullable, options, choices, hasDefault, initial, hint}`; its kind is that of the input.
   */
  function of(schema) {
    const properties = isObject(own(schema, "properties")) ? Object.entries(schema.properties) : [];
    const required = Array.isArray(own(schema, "required")) ? schema.required : [];
    const made = properties.slice(0, MAX_FIELDS).map(([name, each]) => field(name, each, { defs: own(schema, "$defs"), required: required.includes(name) }));
    const further = own(schema, "additionalProperties") ? [field("", { type: "object" }, { defs: {}, required: false })] : [];
    return { list: [...made, ...further], more: Math.max(0, properties.length - MAX_FIELDS) };
  }

  /** Return the schemas of which a value has to fit one. A schema from outside may refer to itself. */
  function alternatives(schema, defs, room, depth = 0) {
    if (!isObject(schema) || depth > MAX_DEPTH || room.left-- <= 0) return [{}];
    const name = /^#\/\$defs\/(.+)$/.exec(typeof schema.$ref === "string" ? schema.$ref : "")?.[1];
    if (name) return alternatives(own(defs, name), defs, room, depth + 1);
    if (!Array.isArray(schema.anyOf)) return [schema];
    return schema.anyOf.slice(0, MAX_PARTS).flatMap((each) => alternatives(each, defs, room, depth + 1)).slice(0, MAX_PARTS);
  }

  function field(name, schema, { defs, required }) {
    const all = alternatives(schema, defs, { left: MAX_PARTS }), options = all.filter(({ type }) => type !== "null");
    const initial = own(schema, "default");
    const found = { name, required, nullable: options.length < all.length, options, initial, hasDefault: initial !== undefined, choices: [] };
    const one = options.length === 1 ? options[0] : {};
    if (options.length && options.every((each) => Array.isArray(each.enum))) found.choices = options.flatMap((each) => each.enum).slice(0, 1000);
    else if (one.type === "boolean" && (found.nullable || (found.hasDefault && typeof initial !== "boolean"))) found.choices = [true, false];
    // JSON.parse has rounded it
    if (isObject(one) && one.type === "integer" && typeof initial === "number" && !Number.isSafeInteger(initial)) found.hasDefault = false;
    found.kind = found.choices.length ? "choice" : one.type === "boolean" ? "switch" : inputOf(one, found);
    return { ...found, hint: hint(found, one, own(schema, "description") ?? one.description) };
  }

  function inputOf({ type, format }, { hasDefault, initial }) {
    if (type === "array" || type === "object") return "json";
    const isLocal = !hasDefault || initial === null || (typeof initial === "string" && own(LOCAL, format)?.test(initial));
    return type === "string" && Object.hasOwn(INPUTS, format) && isLocal ? INPUTS[format] : "text";
  }

  /** Return what a person should know before entering a value. */
  function hint(found, one, description) {
    const about = found.name ? (typeof description === "string" ? description : "") : "as a JSON object, if the workflow takes more than is known here";
    const needed = found.required && found.kind !== "switch" ? "needed" : "";
    const empty = !found.required && found.name && !["choice", "switch"].includes(found.kind) && (!found.hasDefault || found.initial === null);
    return [needed, words.shown(about, 300), limits(one), found.kind === "datetime-local" ? "local time of the engine" : "", empty ? "may stay empty" : ""].filter(Boolean).join(" · ");
  }

  function limits({ type, minimum, maximum, exclusiveMinimum, exclusiveMaximum, minLength, maxLength }) {
    const isCount = (value) => typeof value === "number";
    const length = [...(isCount(minLength) ? [`at least ${minLength}`] : []), ...(isCount(maxLength) ? [`at most ${maxLength}`] : [])].join(", ");
    const range = [...(isCount(minimum) ? [`from ${minimum}`] : []), ...(isCount(exclusiveMinimum) ? [`more than ${exclusiveMinimum}`] : []),
      ...(isCount(maximum) ? [`to ${maximum}`] : []), ...(isCount(exclusiveMaximum) ? [`less than ${exclusiveMaximum}`] : [])].join(" ");
    if (type === "integer") return `whole number${range ? ` ${range}` : ""}`;
    if (type === "number") return `number${range ? ` ${range}` : ""}`;
    return length ? `${length} characters` : "";
  }

  /** Return what a field holds at first, as its input has it. */
  function initialOf({ kind, choices, hasDefault, initial }) {
    if (kind === "switch") return initial === true;
    if (!hasDefault || (initial === null && kind !== "choice")) return "";
    if (kind === "choice") return String(choices.findIndex((each) => views.same(each, initial))).replace("-1", "");
    return typeof initial === "string" ? initial : JSON.stringify(initial);
  }

  /**
   * Return what a field says: `{value}`, `{}` if the engine's own default holds, or `{problem}` with what to enter.
   * `entered`: a text, the index of a choice as text, or whether a switch is on; null if the browser could not read it.
   */
  function read(found, entered) {
    if (entered === null) return { problem: "Not complete: enter all parts, or none." };
    if (found.kind === "switch") return { value: entered };
    if (entered.trim() === "") return readEmpty(found, entered);
    if (found.kind === "choice") return { value: found.choices[Number(entered)] };
    const problems = [];
    for (const option of found.options) {
      try {
        return { value: convert(option, entered) };
      } catch (error) {
        problems.push(error.message);
      }
    }
    return { problem: `Needs ${problems.join(", or ")}.` };
  }

  function readEmpty({ required, nullable, hasDefault, initial, kind, options }, entered) {
    if (nullable && (required || (hasDefault && initial !== null))) return { value: null };
    // a text that was there has been removed
    if (kind === "text" && hasDefault && typeof initial === "string" && initial !== "" && entered === "") return { value: "" };
    if (!required) return {};
    return { problem: kind === "choice" ? "Choose one." : `Missing: needs ${options.map(({ type, format }) => own(NEEDS, format) ?? own(NEEDS, type) ?? "a value").join(", or ")}.` };
  }

  /** Return the JSON value of a text. @throws {Error} with what is needed. */
  function convert(schema, entered) {
    if (schema.type === "integer" || schema.type === "number") return number(schema, entered.trim());
    if (schema.type === "array" || schema.type === "object") return structure(schema, entered);
    if (schema.type === "boolean") return truth(entered.trim());
    if (Array.isArray(schema.enum)) return choice(schema, entered.trim());
    const count = [...entered].length, { minLength = 0, maxLength = Infinity } = schema;
    if (count < minLength || count > maxLength) throw new Error(`${limits(schema)}, not ${count}`);
    if (Object.hasOwn(NEEDS, schema.format) && !isMoment(schema.format, entered)) throw new Error(`${NEEDS[schema.format]}, not ${words.shown(entered, 40)}`);
    // a browser leaves out seconds that are zero
    return schema.format === "time" && /^\d\d:\d\d$/.test(entered) ? `${entered}:00` : entered;
  }

  const isMoment = (format, entered) => (format === "date-time" || LOCAL[format].test(entered)) && fields.seconds({ at: format === "time" ? `2000-01-01T${entered}` : entered }, "at") !== null;

  function number(schema, entered) {
    const isWhole = schema.type === "integer", form = isWhole ? /^[+-]?\d+$/ : /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
    const value = Number(entered), { minimum = -Infinity, maximum = Infinity, exclusiveMinimum = -Infinity, exclusiveMaximum = Infinity } = schema;
    if (!form.test(entered) || !Number.isFinite(value)) throw new Error(`${NEEDS[schema.type]}, not ${words.shown(entered, 40)}`);
    if (isWhole && !Number.isSafeInteger(value)) throw new Error(`a whole number of at most 15 digits: larger ones “cascade start” can send`);
    if (value < minimum || value > maximum || value <= exclusiveMinimum || value >= exclusiveMaximum) throw new Error(`a ${limits(schema)}, not ${value}`);
    return value;
  }

  function structure({ type }, entered) {
    let value = null;
    try {
      value = JSON.parse(entered);
    } catch { /* says the same as a value of another type */ }
    if (type === "array" ? !Array.isArray(value) : !isObject(value)) throw new Error(NEEDS[type]);
    return value;
  }

  function truth(entered) {
    if (!/^(true|false)$/.test(entered)) throw new Error(NEEDS.boolean);
    return entered === "true";
  }

  function choice(schema, entered) {
    const found = schema.enum.find((each) => String(each) === entered);
    if (found === undefined) throw new Error(`one of ${words.shown(schema.enum.join(", "), 200)}`);
    return found;
  }

  /** Return `{params, problems}`: the values to send, and what is wrong by name. `entered`: by name. */
  function readAll(list, entered) {
    const params = fields.bare(), problems = new Map();
    for (const each of list) {
      const { value, problem } = read(each, entered.get(each.name));
      if (problem) problems.set(each.name, problem);
      else if (each.name) Object.assign(params, value === undefined ? {} : fields.bare([[each.name, value]]));
      else Object.assign(params, { ...value, ...params });
    }
    return { params, problems };
  }

  /** Return an engine's reason to refuse parameters by field, and the rest: `number: expected int; text is missing`. */
  function placed(reason, names) {
    const found = new Map();
    let name = "";
    for (const part of reason.split("; ")) {
      const about = names.find((each) => each && (part.startsWith(`${each}: `) || part === `${each} is missing`));
      if (about !== undefined || part.startsWith("no parameter ")) name = about ?? "";
      const text = about !== undefined && part.startsWith(`${about}: `) ? part.slice(about.length + 2) : part;
      found.set(name, found.has(name) ? `${found.get(name)}; ${text}` : text);
    }
    return found;
  }

  return { of, initialOf, read, readAll, placed };
})();
