"use strict";
/** What engines offer to start, the requests that ask for it, and what they answer. */
const starting = (() => {
  const ANSWER_SECONDS = 15, MAX_REQUEST_BYTES = 65536, EVERY = "@all";
  const RESPONSES = "cascade/responses/";
  const ADVICE = { busy: "Start it again when that run has ended.", paused: "Resume that first.", full: "Try again later.",
    stopping: "Try again when it is back.", expired: "Check the clocks, and try again.", unknown: "The list of workflows shows what is offered now." };

  const requestTopic = (target, name) => `cascade/requests/${target === EVERY ? EVERY : fields.encodeLevel(target)}/${fields.encodeLevel(name)}`;

  /** Return `[{name, engines: [{engine, row, why}]}]` by name; `why` an engine cannot start it now, or an empty text. */
  function offers(view, now) {
    const found = new Map();
    for (const source of [...view.engines.keys()].sort(views.byText)) {
      const engine = view.engines.get(source);
      for (const row of engine.workflows?.workflows ?? []) {
        const engines = found.get(row.name) ?? [];
        if (engines.at(-1)?.engine !== engine) engines.push({ engine, row, why: whyNot(engine, row, now) });
        found.set(row.name, engines);
      }
    }
    return [...found.keys()].sort(views.byText).map((name) => ({ name, engines: found.get(name) }));
  }

  function whyNot(engine, row, now) {
    const status = engine.status(now);
    if (status !== "online") return { lost: "is lost", ended: "has ended" }[status] ?? "is not known to be online";
    return row.accepting ? "" : "is stopping and accepts nothing";
  }

  /** Return the answer in a message on `cascade/responses/SOURCE/ID`, or null. */
  function parse(topic, payload) {
    const levels = topic.split("/"), data = fields.jsonObject(payload);
    if (levels.length !== 4 || !data || !["accepted", "refused", "ended"].includes(data.status)) return null;
    const { text } = fields;
    return { level: levels[2], id: levels[3], status: data.status, run_id: text(data, "run_id"), code: text(data, "code"), reason: text(data, "reason") };
  }

  /** Asks engines to start workflows, one request at a time, and follows it. */
  class Starter {
    /** `accepted(source, run_id)` is called once for a request that one engine or more have accepted. */
    constructor({ link, view, now, changed, refused, accepted }) {
      Object.assign(this, { link, view, now, changed, refused, accepted, latest: null });
    }

    get isWaiting() { return this.latest?.state === "sent"; }

    /** Ask. A request of which nobody knows what became is repeated with its id, so that it starts no second run. */
    async ask({ name, target, sources, params, by }) {
      const topic = requestTopic(target, name), asked = JSON.stringify([topic, params]);
      const id = this.latest?.state === "unknown" && this.latest.asked === asked ? this.latest.id : random();
      const step = { name, target, sources, topic, asked, id, at: this.now(), state: "sent", problem: "", answers: new Map() };
      this.latest = step;
      this.changed();
      const payload = JSON.stringify({ id, params, ...(by ? { by } : {}) });
      if (fields.asBytes(payload).length > MAX_REQUEST_BYTES) return this.fail(step, "The values take more than 64 KiB.");
      try {
        const heard = await this.link().listen(`${RESPONSES}+/${id}`);
        if (heard >= 0x80) return this.refuse(step, heard, `read ${RESPONSES}+/+`);
        const code = await this.link().publish(topic, payload, { retain: false, expiry: ANSWER_SECONDS });
        if (code >= 0x80) return this.refuse(step, code, `write ${topic}`);
        return setTimeout(() => this.silent(step), ANSWER_SECONDS * 1000);
      } catch (error) {
        return this.silent(step, error.message);
      }
    }

    fail(step, problem, state = "failed") {
      Object.assign(step, { state, problem });
      this.forget(step);
      this.changed();
    }

    refuse(step, code, what) {
      this.refused.add(step.topic);
      this.fail(step, `The broker refuses it: ${words.codeReason(code)}. Nothing was started: this user may not ${what}. ${rules(step.name)}`);
    }

    silent(step, why = "") {
      if (step !== this.latest || step.state !== "sent") return;
      if (step.answers.size) return this.settle(step);
      const missing = evidence.named(step.sources.length ? step.sources : [step.target]);
      this.fail(step, `${why || `No answer from ${missing} within ${ANSWER_SECONDS} s: it is away, or this user may not write ${step.topic}.`} `
        + "It is not known whether the run starts. Start again asks for the same run, so there is no second one.", "unknown");
    }

    forget(step) {
      if (this.link()?.isLinked) this.link().ignore(`${RESPONSES}+/${step.id}`);
    }

    /** Take a message on a topic of responses. */
    answer(topic, payload) {
      const step = this.latest, found = parse(topic, payload);
      if (!found || found.id !== step?.id || step.state !== "sent") return;
      const source = step.sources.find((each) => fields.encodeLevel(each) === found.level);
      if (source === undefined) return;
      step.answers.set(source, found);
      if (step.answers.size === step.sources.length) this.settle(step);
    }

    settle(step) {
      const taken = [...step.answers].filter(([, each]) => each.status !== "refused");
      Object.assign(step, { state: taken.length ? "accepted" : "refused", at: this.now() });
      this.forget(step);
      if (taken.length) this.refused.delete(step.topic);
      if (taken.length) this.accepted(taken[0][0], taken[0][1].run_id || `${step.name}~${step.id}`);
      this.changed();
    }

    /** Take a run that an engine reports as the answer that did not arrive. */
    look() {
      const step = this.latest, run_id = `${step?.name}~${step?.id}`;
      if (!["sent", "unknown"].includes(step?.state)) return;
      for (const source of step.sources) {
        if (!step.answers.has(source) && this.view().runs.has(views.runKey(source, run_id))) step.answers.set(source, { status: "accepted", run_id });
      }
      if (step.answers.size === step.sources.length) this.settle(step);
    }

    /** Return the latest request in words. */
    status() {
      const step = this.latest;
      if (!step) return null;
      const title = `Start ${words.shown(step.name)}${step.target === EVERY ? "" : ` on ${words.shown(step.target, 60)}`}`;
      const text = step.problem || (step.state === "sent" ? "sent, waiting for the answer …" : [...step.answers].map((each) => this.inWords(...each)).join(" "));
      return { title, topic: step.topic, at: step.at, text, is: { sent: "sent", accepted: "written" }[step.state] ?? "failed" };
    }

    inWords(source, { status, run_id, code, reason }) {
      const who = words.shown(source, 60);
      if (status === "refused") return `${who} refuses it: ${words.shown(reason || code || "it gives no reason", 500)}.${ADVICE[code] ? ` ${ADVICE[code]}` : ""}`;
      const run = this.view().runs.get(views.runKey(source, run_id));
      const end = run && run.status !== runs.RUNNING ? ` It has ended: ${run.status}.` : "";
      return `accepted by ${who} as ${words.shown(run_id, 100)}.${end}`;
    }
  }

  const rules = (name) => `“cascade acl --requester USER=${words.shown(name, 60)}” prints the rules of a user who may start it.`;

  return { EVERY, RESPONSES, requestTopic, offers, Starter };
})();
