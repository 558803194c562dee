"use strict";
/** The connection to the broker: it connects again by itself, and knows when the retained set has arrived. */
class Link {
  // seconds; browsers delay the timers of hidden pages by up to a minute
  static KEEPALIVE = 180;
  static PING_AFTER = 30_000;
  static SILENT_AFTER = 25_000;
  static SYNC_SECONDS = 2_000;
  static RESYNC = 60_000;
  static LONGEST_WAIT = 15_000;
  // the code with which the relay of cascade web closes if it reaches no broker
  static TRY_AGAIN_LATER = 1013;
  static EXACT = ["global", "global/@pause", "global/@concurrency", "global/@rate_limit"].map((each) => `cascade/constraints/${each}`);
  static SET = [...Link.EXACT, "cascade/constraints/#", "cascade/status/+", "cascade/state/+/+", "cascade/ack/+"];
  static EVENTS = "cascade/telemetry/+/+/+/+";

  /**
   * `on`: `{message(topic, payload, retained), linked(), complete({proved, seen}), change()}`.
   * `options`: `{url, shownUrl, username, password}`; a password stays in this object.
   */
  constructor(options, on) {
    this.options = options;
    this.on = on;
    this.state = "connecting";
    this.problem = "";
    this.version = mqtt.V5;
    this.failures = 0;
    this.everLinked = false;
    this.lost = null;
    this.mayPublish = true;
    // by filter that this user may not read: the broker's reason
    this.refused = new Map();
    this.clientId = `web-${random()}`;
    // the rules of a user name cascade/sync/USER
    this.source = fields.encodeLevel(options.username) || this.clientId;
    this.connect();
    this.timer = setInterval(() => this.tick(), 1000);
  }

  get isReady() { return this.state === "ready"; }
  get isLinked() { return this.state === "syncing" || this.state === "ready"; }

  close() {
    this.closed = true;
    clearInterval(this.timer);
    clearTimeout(this.retry);
    this.drop();
  }

  /** Connect at once instead of waiting for the next attempt. */
  hurry() {
    if (this.closed || this.state !== "lost") return;
    clearTimeout(this.retry);
    this.connect();
  }

  connect() {
    this.packets = new mqtt.Packets(this.version);
    this.acknowledging = new Map();
    this.ids = 0;
    this.sync = null;
    this.begun = false;
    this.code = null;
    this.reason = "";
    let socket;
    try {
      socket = new WebSocket(this.options.url, ["mqtt", ...(this.options.token ? [`token.${this.options.token}`] : [])]);
    } catch (error) {
      return this.fail("unusable", `The browser refuses this address: ${error.message}`);
    }
    this.socket = socket;
    socket.binaryType = "arraybuffer";
    const mine = (act) => (event) => { if (socket === this.socket) act(event); };
    socket.onopen = mine(() => this.opened());
    socket.onmessage = mine(({ data }) => this.received(data));
    socket.onclose = mine((event) => this.ended(event));
    this.deadline = setTimeout(() => { if (socket === this.socket && !this.isLinked) socket.close(); }, 10_000);
  }

  opened() {
    this.begun = true;
    const { username, password } = this.options;
    this.send(mqtt.connect({ version: this.version, clientId: this.clientId, username, password, keepalive: Link.KEEPALIVE }));
  }

  send(bytes) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(bytes);
  }

  received(data) {
    this.heard = Date.now();
    this.heardAt = performance.now();
    let found;
    try {
      found = this.packets.push(new Uint8Array(data));
    } catch (error) {
      this.reason = `what answers does not speak MQTT (${error.message})`;
      return this.socket.close();
    }
    found.forEach((packet) => this.take(packet));
    if (this.isLinked && this.heard - this.pinged > Link.PING_AFTER) this.ping();
  }

  take(packet) {
    switch (packet.type) {
      case "connack": return this.takeConnack(packet);
      case "publish": return this.takeMessage(packet);
      case "suback": return this.takeSuback(packet);
      case "puback": return this.takePuback(packet);
      case "disconnect": this.reason = words.codeReason(packet.code); return undefined;
      default: return undefined;
    }
  }

  takeConnack({ code, reason }) {
    if (code !== 0) {
      this.code = code;
      this.reason = reason;
      return this.socket.close();
    }
    clearTimeout(this.deadline);
    this.failures = 0;
    this.everLinked = true;
    this.problem = "";
    this.reason = "";
    this.pinged = this.heard;
    this.state = "syncing";
    this.on.linked();
    this.begin([Link.EVENTS]);
    return this.on.change();
  }

  /** Subscribe to the retained set and, last, to our own echo; then send the nonce. All at QoS 0, in this order. */
  begin(more = []) {
    this.sync = { nonce: random(), echoes: 0, at: Date.now(), seen: new Set(), second: false };
    this.subscribe([...Link.SET, `cascade/sync/${this.source}/+`, ...more]);
    this.echo();
  }

  /** Ask once more for topics that the set did not hold: what is missing there too was cleared. */
  lookAgain(topics) {
    const { seen } = this.sync;
    this.sync = { nonce: random(), echoes: 1, at: Date.now(), seen, second: true };
    for (let at = 0; at < topics.length; at += 200) {
      const some = topics.slice(at, at + 200);
      this.subscribe(some);
      this.send(mqtt.unsubscribe(this.version, this.nextId(), some.filter((topic) => !Link.EXACT.includes(topic))));
    }
    this.echo();
  }

  subscribe(filters) {
    const id = this.nextId();
    this.acknowledging.set(id, { filters });
    this.send(mqtt.subscribe(this.version, id, filters));
  }

  echo() {
    if (!this.mayPublish) return;
    this.send(mqtt.publish(this.version, { topic: `cascade/sync/${this.source}/${this.sync.nonce}`, payload: "{}" }));
  }

  takeMessage({ topic, payload, retained }) {
    if (topic.startsWith(`cascade/sync/${this.source}/`)) return this.takeEcho(topic);
    if (this.sync && payload.length) this.sync.seen.add(topic);
    // the set is still arriving
    if (this.sync && retained) this.sync.at = this.heard;
    return this.on.message(topic, payload, retained);
  }

  /** We leave nothing retained, so no canary: the echo of a second nonce, sent behind the first echo, counts. */
  takeEcho(topic) {
    if (!this.sync || !topic.endsWith(this.sync.nonce)) return;
    this.sync.echoes += 1;
    if (this.sync.echoes < 2) {
      this.sync.nonce = random();
      return this.echo();
    }
    return this.complete(true);
  }

  complete(proved) {
    const { seen, second } = this.sync;
    const missing = this.on.complete({ proved, seen, second }) ?? [];
    if (proved && missing.length && !second) return this.lookAgain(missing);
    this.sync = null;
    this.synced = Date.now();
    this.state = "ready";
    this.proved = proved;
    return this.on.change();
  }

  takeSuback({ id, codes, reason }) {
    const { filters = [], done } = this.acknowledging.get(id) ?? {};
    this.acknowledging.delete(id);
    done?.(codes[0] ?? 0);
    filters.forEach((filter, index) => {
      if (codes[index] >= 0x80 && !filter.startsWith("cascade/sync/")) this.refused.set(filter, reason);
      else this.refused.delete(filter);
    });
    this.on.change();
  }

  /** What this user may not read, in words. */
  get denied() {
    if (!this.refused.size) return "";
    const [[, reason]] = this.refused;
    return `The broker does not let this user read ${[...this.refused.keys()].slice(0, 3).join(", ")}${reason ? ` (${reason})` : ""}. `
      + "Ask for the right to read cascade/#, or connect as another user.";
  }

  takePuback({ id, codes }) {
    const waiting = this.acknowledging.get(id);
    this.acknowledging.delete(id);
    waiting?.done?.(codes[0] ?? 0);
  }

  /** Publish at QoS 1; return the broker's reason code. An `expiry` in seconds counts in version 5 only. */
  publish(topic, payload, { expiry = null, retain = true } = {}) {
    return this.ask((id) => mqtt.publish(this.version, { topic, payload, qos: 1, retain, id, expiry }));
  }

  /** Subscribe to one more filter, until `ignore` or the end of this connection; return the broker's reason code. */
  listen(filter) { return this.ask((id) => mqtt.subscribe(this.version, id, [filter])); }

  ignore(filter) { this.send(mqtt.unsubscribe(this.version, this.nextId(), [filter])); }

  /** Send a packet that the broker acknowledges; return its reason code. */
  ask(packet) {
    if (!this.isLinked) return Promise.reject(new Error("The page is not connected to the broker."));
    const id = this.nextId();
    const answered = new Promise((done, failed) => this.acknowledging.set(id, { done, failed }));
    this.send(packet(id));
    return answered;
  }

  nextId() {
    do this.ids = (this.ids % 65535) + 1; while (this.acknowledging.has(this.ids));
    return this.ids;
  }

  ping() {
    this.pinged = Date.now();
    this.send(mqtt.ping());
  }

  /** Every second, or later where the browser delays the timers of a hidden page. */
  tick() {
    const now = Date.now();
    if (!this.isLinked) return;
    if (this.sync && now - this.sync.at > Link.SYNC_SECONDS) this.complete(false);
    if (this.pinged > this.heard && now - this.pinged > Link.SILENT_AFTER) return this.drop("the broker no longer answers");
    if (now - Math.max(this.pinged, this.heard) > Link.PING_AFTER) this.ping();
    if (!this.sync && this.mayPublish && now - this.synced > Link.RESYNC) this.begin();
  }

  /** Ask for a sign of life now, for example when the page becomes visible. */
  check() {
    if (this.isLinked) this.ping();
    else this.hurry();
  }

  drop(reason = "") {
    const socket = this.socket;
    this.socket = null;
    socket?.close();
    if (!this.closed) this.ended({ reason });
  }

  ended({ reason = "", code = null } = {}) {
    clearTimeout(this.deadline);
    this.isBrokerAway = code === Link.TRY_AGAIN_LATER && Boolean(reason);
    for (const { failed } of this.acknowledging.values()) failed?.(new Error("The link was lost before the broker answered."));
    this.acknowledging.clear();
    const wasLinked = this.isLinked;
    if (wasLinked) this.lost = this.lastKnown();
    // a CONNACK that refuses says why; its close does not
    if (this.code === null) this.reason = reason || this.reason;
    if (wasLinked && this.sync?.echoes === 0 && this.mayPublish) this.mayPublish = this.cuts();
    if (!wasLinked && this.isVersionRefused()) {
      this.version = mqtt.V311;
      return this.connect();
    }
    if (words.isRefusal(this.code)) return this.fail("refused", words.refusal(this.code, this.reason, this.options));
    return this.fail("lost", wasLinked ? words.cut(this.reason) : words.unreachable(this));
  }

  /** Return the moment of which the page knows the state: now, unless the broker has been silent, as while the computer slept. In seconds. */
  lastKnown() {
    const silent = Date.now() - this.heard > Link.SILENT_AFTER;
    return { wall: (silent ? this.heard : Date.now()) / 1000, monotonic: (silent ? this.heardAt : performance.now()) / 1000 };
  }

  /** Return false after two cuts at the nonce in a row: some brokers cut off users who may not publish. */
  cuts() {
    this.cutsAtNonce = (this.cutsAtNonce ?? 0) + 1;
    return this.cutsAtNonce < 2;
  }

  /** Whether a broker may know version 3.1.1 only: it refuses 5, or closes without an answer. */
  isVersionRefused() {
    if (this.version !== mqtt.V5 || !this.begun || this.isBrokerAway) return false;
    return this.code === 1 || this.code === 0x84 || (this.code === null && !this.everLinked);
  }

  /** `refused` waits for the user; `lost` tries again, later each time. */
  fail(state, problem) {
    this.state = state;
    this.problem = problem;
    this.sync = null;
    if (state === "lost" && !this.closed) {
      const wait = Math.min(Link.LONGEST_WAIT, 500 * 2 ** this.failures) * (0.75 + Math.random() / 2);
      this.failures += 1;
      this.retry = setTimeout(() => this.connect(), wait);
    }
    this.on.change();
  }
}

/** Return 16 random hex digits. */
function random() {
  return [...crypto.getRandomValues(new Uint8Array(8))].map((each) => each.toString(16).padStart(2, "0")).join("");
}
