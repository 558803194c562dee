"use strict";
/** What the page says. No I/O. */
const words = (() => {
  const MAX_SHOWN = 100, CENTURY = 100 * 365 * 86400;

  /** Return text from outside on one line, as it is: what could turn, hide or end a line is escaped. */
  const printable = (text) => text.replace(fields.HIDDEN, (char) => `\\u${char.codePointAt(0).toString(16).padStart(4, "0")}`);

  /** Return a name as it is shown: long ones are cut. */
  function shown(text, limit = MAX_SHOWN) {
    const found = printable(fields.cut(text, limit));
    return text.length > limit ? `${found}…` : found;
  }

  const ID = { longest: 16, head: 8, before: 5, after: 8, tail: 9, random: /^[0-9a-f]+$/ };

  /** Return how each of some ids of runs is shown beside the others, by id: `shortened` of `cascade.wire`. */
  function shortened(ids) {
    const found = new Map([...ids].map((id) => {
      const chars = [...id];
      const tail = ID.random.test(id) ? "" : `…${chars.slice(-ID.tail).join("")}`;
      return [id, chars.length <= ID.longest ? id : `${chars.slice(0, ID.head).join("")}${tail}`];
    }));
    for (const alike of lookAlike(found)) {
      const at = Math.max(commonStart(alike) - ID.before, ID.head);
      for (const id of alike) {
        const chars = [...id];
        found.set(id, chars.length > ID.longest ? `${chars.slice(0, ID.head).join("")}…${chars.slice(at, at + ID.before + ID.after).join("")}` : id);
      }
    }
    for (const alike of lookAlike(found)) alike.forEach((id) => found.set(id, id));
    return found;
  }

  function lookAlike(found) {
    const groups = new Map();
    for (const [id, short] of found) groups.set(short, [...groups.get(short) ?? [], id]);
    return [...groups.values()].filter((group) => group.length > 1);
  }

  function commonStart(ids) {
    const [first, ...others] = ids.map((id) => [...id]);
    const at = first.findIndex((char, index) => others.some((other) => other[index] !== char));
    return at < 0 ? first.length : at;
  }

  /** Return seconds in their largest fitting unit: `90s`, `2h`. */
  function duration(seconds) {
    const value = Math.max(0, seconds);
    if (value > CENTURY) return "more than 100 years";
    if (value < 120) return `${Math.floor(value)}s`;
    if (value < 7200) return `${Math.floor(value / 60)}m`;
    return value < 172800 ? `${Math.floor(value / 3600)}h` : `${Math.floor(value / 86400)}d`;
  }

  // seconds by which clocks may differ unnoticed
  const SLACK = 5;

  /** Return the time between two moments; an empty text if one is not known or the clocks contradict each other. */
  const between = (start, end) => (start === null || end === null || end - start < -SLACK ? "" : duration(end - start));

  /** Return a moment as the local time of day, with the date unless that is today's. */
  function moment(seconds) {
    const at = new Date(seconds * 1000), two = (number) => String(number).padStart(2, "0");
    if (Number.isNaN(at.getTime())) return "";
    const day = at.toDateString() === new Date().toDateString() ? "" : `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} `;
    return `${day}${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  }

  const count = (number) => number.toLocaleString("en-US").replaceAll(",", "\u202f");
  const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

  const GATE = "gate.";
  const MUST = { above: (bound) => `stay below ${bound}`, below: (bound) => `stay above ${bound}`, inside: (low, high) => `stay outside ${low} to ${high}`,
    outside: (low, high) => `stay within ${low} to ${high}`, equals: (word) => `not be ${word}` };

  /** Return what opens a gate, in words; an empty text if its parameters do not say it. */
  function opening({ window, topic, ...params }) {
    if (typeof window === "string") return `open ${window.slice(0, 80)}`;
    const kind = Object.keys(MUST).find((each) => params[each] != null);
    return kind && typeof topic === "string" ? `${topic} must ${MUST[kind](...[params[kind]].flat().slice(0, 2).map((each) => String(each).slice(0, 40)))}` : "";
  }

  /** Return a constraint in a few words. */
  function describe(type, params) {
    const value = (found) => String(found).slice(0, 40);
    if (type.startsWith(GATE) && opening(params)) return `${type}: ${opening(params)}`;
    if (type === "concurrency" && params.limit != null) return `at most ${value(params.limit)} at a time`;
    if (type === "rate_limit" && params.rate != null) return `at most ${value(params.rate)}${typeof params.rate === "number" ? "/s" : ""}`;
    return type || "unknown";
  }

  /** Return why tasks wait, in words. `now` is on the clock of the engine. */
  function reason(row, register, now) {
    if (row.text) return row.text;
    if (row.why === "constraint") {
      const found = fields.constraintTopic(row.topic);
      return `${describe(row.type, register?.params ?? {})}${found ? ` (${found[0]})` : ""}`;
    }
    if (row.why === "gate") return `the gate ${row.name} is closed`;
    if (row.why === "resource") return `resource ${row.name} is taken`;
    if (row.why === "retry") return `next attempt${row.until === null || now === null || row.until < now ? "" : ` in ${duration(row.until - now)}`}`;
    if (row.why === "rate") return `the rate of ${row.name}`;
    if (row.why === "slot") return row.name ? `the limit of the map ${row.name}` : "all worker slots are taken";
    return row.why === "sync" ? "the engine waits for its constraints" : row.why;
  }

  const CODES = { 0x01: "it does not know this version of MQTT", 0x02: "it refuses the client id", 0x03: "it is unavailable",
    0x04: "wrong user name or password", 0x05: "this user has no rights", 0x80: "it gives no reason", 0x82: "a malformed packet",
    0x84: "it does not know this version of MQTT", 0x85: "it refuses the client id", 0x86: "wrong user name or password",
    0x87: "this user has no rights", 0x88: "it is unavailable", 0x89: "it is busy", 0x8a: "this client is banned",
    0x8b: "it is shutting down", 0x8d: "it has received nothing for too long", 0x8e: "another client connected with the same client id",
    0x93: "too much at once", 0x95: "the packet is too large", 0x97: "a quota is exceeded", 0x98: "an operator's action" };
  const codeReason = (code) => CODES[code] ?? `reason code ${code}`;
  const REFUSALS = [0x02, 0x04, 0x05, 0x85, 0x86, 0x87, 0x8a];
  const isRefusal = (code) => REFUSALS.includes(code);

  function refusal(code, said, { username }) {
    const detail = said ? ` It says: ${shown(said)}.` : "";
    // mosquitto answers a wrong password with "not authorized"
    if ([0x04, 0x05, 0x86, 0x87].includes(code)) {
      const who = username ? `the user ${shown(username)}: wrong user name or password, or no rights` : "clients without a user name";
      return `The broker refuses ${who}.${detail} Enter user name and password, then connect.`;
    }
    return `The broker refuses the connection: ${codeReason(code)}.${detail} Ask the person who runs the broker, or connect as another user.`;
  }

  const cut = (reason) => `No link: ${reason || "the connection to the broker was cut"}. The page connects again by itself.`;

  /** Return in words which moment the page shows while it has no link. `wall` is on this computer's clock. */
  const frozen = (wall, isLinked) => (isLinked
    ? `Connected again: until everything has arrived, what you see is from ${moment(wall)}.`
    : `No link since ${moment(wall)}: what you see is from then. You can steer again when the link is back.`);

  function unreachable({ options, begun, reason, code, everLinked, isBrokerAway }) {
    if (code !== null) return `The broker refuses the connection: ${reason || codeReason(code)}. The page tries again by itself.`;
    if (isBrokerAway) return `No link: ${reason}. Check that the broker runs, and its host and port. The page tries again by itself.`;
    if (begun) {
      const question = everLinked ? "" : " Is it an MQTT broker?";
      return `${options.shownUrl} answers, but ${reason || "closes the connection without an answer"}.${question} The page tries again by itself.`;
    }
    if (everLinked) return `No link: ${options.shownUrl} does not answer. The page connects again by itself.`;
    return `No WebSocket answers at ${options.shownUrl}. Check that the broker runs, and its host and port. It needs a WebSocket port (mosquitto: "listener 9001" `
      + "and \"protocol websockets\"); without one, start “cascade web” with the broker's address and open the page that it serves: it relays to the usual port. "
      + "The page tries again by itself.";
  }

  /** Return why a browser cannot use this address, or an empty text. */
  function addressProblem(address, page) {
    let url;
    try {
      url = new URL(address);
    } catch {
      return `“${shown(address)}” is not an address. Write ws://HOST:PORT or wss://HOST:PORT.`;
    }
    if (/^mqtts?:$/.test(url.protocol)) {
      return "A browser cannot use mqtt:// addresses. Write the broker's WebSocket address, ws://HOST:PORT, or start “cascade web”, which relays.";
    }
    if (!/^wss?:$/.test(url.protocol)) return `An address begins with ws:// or wss://, not with ${shown(url.protocol)}//.`;
    const isLocal = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(url.hostname);
    if (page === "https:" && url.protocol === "ws:" && !isLocal) {
      return "This page came over https, and a browser opens no ws:// connection from there. Use the broker's wss:// address, or open the page over http or from a file.";
    }
    return "";
  }

  return { GATE, SLACK, printable, shown, shortened, duration, between, moment, count, plural, describe, reason, codeReason, isRefusal, refusal, cut, frozen, unreachable, addressProblem };
})();
