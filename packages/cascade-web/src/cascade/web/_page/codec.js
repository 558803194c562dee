"use strict";
/** MQTT packets of versions 5.0 and 3.1.1, as bytes and as plain objects. No I/O. */
const mqtt = (() => {
  const V5 = 5, V311 = 4;
  const CONNECT = 1, CONNACK = 2, PUBLISH = 3, PUBACK = 4, SUBSCRIBE = 8, SUBACK = 9, UNSUBSCRIBE = 10;
  const UNSUBACK = 11, PINGREQ = 12, PINGRESP = 13, DISCONNECT = 14;
  const MESSAGE_EXPIRY = 0x02, REASON_STRING = 0x1f;
  const MAX_PACKET = 1 << 22;
  const encoder = new TextEncoder();
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

  /** Size of each property's value in bytes; 0: text or bytes with a length of two bytes (5.0, section 2.2.2.2). */
  const SIZES = { 1: 1, 2: 4, 3: 0, 8: 0, 9: 0, 17: 4, 18: 0, 19: 2, 21: 0, 22: 0, 23: 1, 24: 4, 25: 1, 26: 0,
    28: 0, 31: 0, 33: 2, 34: 2, 35: 2, 36: 1, 37: 1, 39: 4, 40: 1, 41: 1, 42: 1 };

  const byte = (value) => [value & 0xff];
  const word = (value) => [(value >> 8) & 0xff, value & 0xff];
  const long = (value) => [...word(Math.floor(value / 65536)), ...word(value % 65536)];
  const text = (value) => { const bytes = encoder.encode(value); return [...word(bytes.length), ...bytes]; };

  /** A number in groups of seven bits, the lowest first. */
  function length(value) {
    const bytes = [];
    do {
      bytes.push((value % 128) + (value > 127 ? 128 : 0));
      value = Math.floor(value / 128);
    } while (value > 0);
    return bytes;
  }

  const packet = (type, flags, body) => Uint8Array.from([(type << 4) | flags, ...length(body.length), ...body]);
  const properties = (version, bytes = []) => (version === V5 ? [...length(bytes.length), ...bytes] : []);

  /** A clean session without a will. */
  function connect({ version, clientId, username, password, keepalive }) {
    const flags = 2 | (username ? 128 : 0) | (username && password ? 64 : 0);
    return packet(CONNECT, 0, [...text("MQTT"), ...byte(version), ...byte(flags), ...word(keepalive),
      ...properties(version), ...text(clientId), ...(username ? text(username) : []),
      ...(username && password ? text(password) : [])]);
  }

  /** One SUBSCRIBE for all filters, all at QoS 0. */
  const subscribe = (version, id, filters) =>
    packet(SUBSCRIBE, 2, [...word(id), ...properties(version), ...filters.flatMap((each) => [...text(each), 0])]);

  const unsubscribe = (version, id, filters) =>
    packet(UNSUBSCRIBE, 2, [...word(id), ...properties(version), ...filters.flatMap(text)]);

  /** `expiry` is in seconds; version 3.1.1 has none. */
  function publish(version, { topic, payload, qos = 0, retain = false, id = 0, expiry = null }) {
    const known = expiry === null ? [] : [MESSAGE_EXPIRY, ...long(expiry)];
    return packet(PUBLISH, (qos << 1) | (retain ? 1 : 0), [...text(topic), ...(qos ? word(id) : []),
      ...properties(version, known), ...encoder.encode(payload)]);
  }

  const ping = () => packet(PINGREQ, 0, []);
  const disconnect = () => packet(DISCONNECT, 0, []);

  /** Reads the fields of one packet from its bytes. */
  class Cursor {
    constructor(bytes) { this.bytes = bytes; this.at = 0; }
    get left() { return this.bytes.length - this.at; }
    byte() {
      if (this.left < 1) throw new RangeError("the packet is too short");
      return this.bytes[this.at++];
    }
    word() { return this.byte() * 256 + this.byte(); }
    take(count) {
      if (this.left < count) throw new RangeError("the packet is too short");
      this.at += count;
      return this.bytes.subarray(this.at - count, this.at);
    }
    text() { return decoder.decode(this.take(this.word())); }
    length() {
      let value = 0;
      for (let scale = 1; scale <= 128 ** 3; scale *= 128) {
        const next = this.byte();
        value += (next & 127) * scale;
        if (next < 128) return value;
      }
      throw new RangeError("a length has more than four bytes");
    }
    /** Skip the properties; return the reason in words, where the broker gives one. */
    reason() {
      const end = this.length() + this.at;
      let reason = "";
      while (this.at < end) {
        const name = this.length();
        if (name === 11) { this.length(); continue; }
        if (name === 38) { this.text(); this.text(); continue; }
        if (!(name in SIZES)) throw new RangeError(`unknown property ${name}`);
        const value = this.take(SIZES[name] || this.word());
        if (name === REASON_STRING) reason = decoder.decode(value);
      }
      return reason;
    }
  }

  function readPublish(cursor, flags, version) {
    const qos = (flags >> 1) & 3;
    const topic = cursor.text();
    const id = qos ? cursor.word() : 0;
    if (version === V5) cursor.reason();
    return { type: "publish", topic, qos, id, retained: (flags & 1) === 1, payload: cursor.take(cursor.left) };
  }

  /** A broker that knows only 3.1.1 answers a CONNECT of version 5 without properties. */
  function readConnack(cursor, version) {
    cursor.byte();
    const code = cursor.byte();
    return { type: "connack", code, reason: version === V5 && cursor.left ? cursor.reason() : "" };
  }

  function readCodes(type, cursor, version) {
    const id = cursor.word();
    const reason = version === V5 && type !== "puback" ? cursor.reason() : "";
    const codes = [...cursor.take(type === "puback" ? Math.min(1, cursor.left) : cursor.left)];
    return { type, id, codes, reason };
  }

  function read(type, flags, body, version) {
    const cursor = new Cursor(body);
    switch (type) {
      case PUBLISH: return readPublish(cursor, flags, version);
      case CONNACK: return readConnack(cursor, version);
      case PUBACK: return readCodes("puback", cursor, version);
      case SUBACK: return readCodes("suback", cursor, version);
      case UNSUBACK: return { type: "unsuback", id: cursor.word() };
      case PINGRESP: return { type: "pingresp" };
      case DISCONNECT: return { type: "disconnect", code: cursor.left ? cursor.byte() : 0 };
      default: throw new RangeError(`a broker does not send packets of type ${type}`);
    }
  }

  /** The packets of one connection: a WebSocket message may hold a part of one, or several. */
  class Packets {
    constructor(version) { this.version = version; this.rest = new Uint8Array(0); }

    /** Return the packets that these bytes complete. @throws {RangeError} if they are not MQTT. */
    push(bytes) {
      let buffer = bytes;
      if (this.rest.length) {
        buffer = new Uint8Array(this.rest.length + bytes.length);
        buffer.set(this.rest);
        buffer.set(bytes, this.rest.length);
      }
      const found = [];
      let at = 0;
      for (let frame = head(buffer, at); frame && frame.end <= buffer.length; frame = head(buffer, at)) {
        found.push(read(buffer[at] >> 4, buffer[at] & 15, buffer.subarray(frame.start, frame.end), this.version));
        at = frame.end;
      }
      this.rest = buffer.slice(at);
      return found;
    }
  }

  /** Return where the body of the packet at `at` starts and ends; null before its length has arrived. */
  function head(buffer, at) {
    let value = 0;
    for (let count = 0; count < 4; count++) {
      const next = buffer[at + 1 + count];
      if (next === undefined) return null;
      value += (next & 127) * 128 ** count;
      if (value > MAX_PACKET) throw new RangeError("the packet is longer than 4 MiB");
      if (next < 128) return { start: at + 2 + count, end: at + 2 + count + value };
    }
    throw new RangeError("a length has more than four bytes");
  }

  return { V5, V311, connect, subscribe, unsubscribe, publish, ping, disconnect, Packets };
})();
