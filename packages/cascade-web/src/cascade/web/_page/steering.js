"use strict";
/** Registers that the page writes and clears, and what engines do with them. No I/O in the functions. */
const steering = (() => {
  const CANCEL_SECONDS = 60, SEEN_SECONDS = 2, SILENT_SECONDS = 15;
  const FOLLOWING = ["syncing", "synced", "degraded", "stale"];
  const REFUSALS = ["rejected", "refused", "unsupported", "expired"];

  /** Return the change that puts one constraint into force; `by` is written only if it is given. */
  function setting(scope, type, { params = {}, seconds = null, by = "", now }) {
    const expires_at = seconds === null ? null : now + seconds;
    const message = { id: messages.constraintId(scope, type), scope, type, params, expires_at, ...(by ? { by } : {}) };
    return { scope, type, message, topic: fields.registerTopic(scope, type), topics: [fields.registerTopic(scope, type)], seconds };
  }

  /** Return the change that clears a type of a scope: its topic, and every other one that means the same. */
  function clearing(scope, type, registers) {
    const topic = fields.registerTopic(scope, type);
    const others = [...registers.values()].filter((each) => each.scope === scope && each.type === type && each.topic !== topic);
    return { scope, type, message: null, topic, seconds: null, topics: [topic, ...others.map((each) => each.topic).sort()] };
  }

  /** Return the change that clears exactly one topic. */
  const clearingTopic = (register) =>
    ({ scope: register.scope, type: register.type, message: null, topic: register.topic, topics: [register.topic], seconds: null });

  /** Whether an engine may be in a scope. */
  function covers(scope, engine) {
    const at = scope.indexOf(":"), kind = at < 0 ? scope : scope.slice(0, at), value = scope.slice(at + 1);
    if (kind === "source") return engine.source === value;
    return kind !== "project" || ["", value].includes(engine.project_id);
  }

  /** Return the live engines that follow the broker and may be in the scope. */
  function concerned(view, scope, now) {
    return view.live(now).filter((engine) => {
      const report = engine.reportsOfAnother ? null : engine.constraints;
      return (!report || FOLLOWING.includes(report.sync)) && covers(scope, engine);
    });
  }

  /** Return the live engines in the scope whose name two processes use: one of them answers, and the other may work on. */
  const contested = (view, scope, now) =>
    view.live(now).filter((engine) => engine.contested && covers(scope, engine)).map(({ source }) => source);

  /** Return the sources in the scope of which only events come: what they do with a register is not known. */
  function unknown(view, scope) {
    const run_id = scope.startsWith("run:") ? scope.slice(4) : null;
    return [...view.engines.values()].filter((engine) => engine.onlyEvents && covers(scope, engine))
      .map(({ source }) => source).filter((source) => run_id === null || view.runs.has(views.runKey(source, run_id))).sort(views.byText);
  }

  /** Return `applied`, `refused`, `no_match` or an empty text: what an engine's report says of a register. */
  function answer(engine, register) {
    const report = engine.reportsOfAnother ? null : engine.constraints;
    const entry = report?.applied[register.topic];
    if (!entry) return "";
    if (REFUSALS.includes(entry.status)) return "refused";
    if (entry.id !== register.id || !isAbout(report, register)) return "";
    return entry.status === "no_match" ? "no_match" : "applied";
  }

  /** Whether a report is about what the register holds now: its parameters may have changed under the same id. */
  function isAbout(report, register) {
    const row = report.effective.find((each) => each.topic === register.topic);
    if (!row) return true;
    return (row.expires_at ?? null) === register.expires_at && Object.entries(register.params ?? {})
      .every(([name, value]) => views.same(row.params?.[name], value));
  }

  const obeys = (engine, topic) => {
    const report = engine.reportsOfAnother ? null : engine.constraints;
    const entry = report?.applied[topic];
    return Boolean(entry && !["expired", "no_match"].includes(entry.status))
      || Boolean(report?.effective.some((row) => row.topic === topic));
  };

  /** Return the sources in a scope by their answers. `since`: when the register was written or first seen. */
  function byAnswer(view, scope, { now, since }, kindOf) {
    const found = { applied: [], refused: [], no_match: [], pending: [], without: [], contested: contested(view, scope, now),
      unknown: unknown(view, scope), silent: now - since > SILENT_SECONDS };
    for (const engine of concerned(view, scope, now)) found[kindOf(engine)].push(engine.source);
    return found;
  }

  /** Return what the engines do with a register. */
  const compliance = (view, register, times) => byAnswer(view, register.scope, times,
    (engine) => answer(engine, register) || (engine.isOutOfReach ? "without" : "pending"));

  /** Return the same for a register that was cleared: `applied` are the engines that no longer obey it. */
  const lifted = (view, change, times) => byAnswer(view, change.scope, times, (engine) => {
    if (engine.isOutOfReach) return "without";
    const answered = engine.constraints && !engine.reportsOfAnother;
    return !answered || change.topics.some((topic) => obeys(engine, topic)) ? "pending" : "applied";
  });

  /** Return compliance in words: `applied by 3 of 4, press-2 is silent`. */
  function inWords(found, verb = "applied by") {
    const { named } = evidence, { unknown: others, without, contested: shared } = found;
    return [...answers(found, verb),
      ...(shared.length ? [`two processes use the name ${named(shared)}, and only one of them answers`] : []), ...(without.length ? [`it does not reach ${named(without)}`] : []),
      ...(others.length ? [`not known of ${named(others)}: only events arrive`] : [])].join(", ");
  }

  function answers({ applied, refused, no_match, pending, unknown: others, without, silent }, verb) {
    const { named } = evidence;
    const all = applied.length + refused.length + pending.length;
    if (!all && !no_match.length) return others.length + without.length ? [] : ["no live engine in its scope"];
    if (!all) return ["covers nothing that runs now"];
    const be = (sources) => (sources.length === 1 ? "is" : "are");
    return [`${verb} ${applied.length} of ${all}`, ...(refused.length ? [`${named(refused)} ${refused.length === 1 ? "refuses" : "refuse"} it`] : []),
      ...(pending.length ? [`${named(pending)} ${silent ? `${be(pending)} silent` : `${pending.length === 1 ? "has" : "have"} not answered yet`}`] : [])];
  }

  /** Writes changes, and follows each until the engines have answered. */
  class Desk {
    constructor({ link, view, now, changed }) {
      Object.assign(this, { link, view, now, changed, latest: null, refused: new Set() });
    }

    /** Write a change; `title` is what the user asked for. */
    async write(title, change) {
      const step = { title, change, at: this.now(), state: "sent", problem: "", seen: new Set() };
      this.latest = step;
      this.changed();
      try {
        await this.writeStore(change);
        const payload = change.message ? JSON.stringify(change.message) : "";
        const expiry = change.seconds === null ? null : Math.max(1, Math.ceil(change.seconds));
        const codes = await Promise.all(change.topics.map((topic) => this.link().publish(topic, payload, { expiry })));
        const code = codes.find((each) => each >= 0x80);
        if (code !== undefined) this.refuse(step, code);
        else setTimeout(() => this.checkSeen(step), SEEN_SECONDS * 1000);
      } catch (error) {
        step.state = "failed";
        step.problem = `${error.message} The broker may or may not have this change. Try again when the page is connected; some brokers cut the connection of a user who may not write ${change.topic}.`;
      }
      this.changed();
    }

    /** The first tool that steers gives the broker's store its identity. */
    async writeStore(change) {
      if (change.message && this.link()?.isReady && !this.view().store) {
        await this.link().publish(fields.STORE_TOPIC, JSON.stringify({ store: random() }));
      }
    }

    /** Note that the broker has delivered a register that was written. */
    see(topic, payload) {
      const { latest } = this;
      if (!latest?.change.topics.includes(topic)) return;
      const expected = latest.change.message ? JSON.stringify(latest.change.message) : "";
      if (new TextDecoder().decode(payload) === expected) latest.seen.add(topic);
      if (latest.seen.size === latest.change.topics.length && latest.state !== "written") {
        latest.state = "written";
        latest.at = this.now();
        latest.change.topics.forEach((each) => this.refused.delete(each));
      }
    }

    refuse(step, code) {
      step.state = "failed";
      step.problem = `The broker refuses it: ${words.codeReason(code)}. This user may only look; to steer, connect as a user who may write ${step.change.topic} (“cascade acl --operator USER” prints the rules).`;
      this.refused.add(step.change.topic);
    }

    checkSeen(step) {
      if (step.state !== "sent") return;
      step.state = "failed";
      step.problem = `The broker did not return the message within ${SEEN_SECONDS} s: this user may only look, or the broker is not there. To steer, connect as a user who may write ${step.change.topic} (“cascade acl --operator USER” prints the rules).`;
      this.changed();
    }

    /** Return the latest change in words. */
    status() {
      const step = this.latest;
      if (!step) return null;
      const { change } = step;
      if (step.problem) return { title: step.title, topic: change.topic, at: step.at, text: step.problem, is: "failed" };
      if (step.state === "sent") return { title: step.title, topic: change.topic, at: step.at, text: "sent to the broker …", is: "sent" };
      const times = { now: this.now(), since: step.at };
      const text = change.message
        ? this.cancelled(step) ?? inWords(compliance(this.view(), { ...change.message, topic: change.topic }, times))
        : inWords(lifted(this.view(), change, times), "lifted at");
      return { title: step.title, topic: change.topic, at: step.at, text, is: "written" };
    }

    /** A run that was cancelled is gone, and its engine has nothing to report on it. */
    cancelled({ change }) {
      if (change.type !== "cancel" || !change.scope.startsWith("run:")) return null;
      const run_id = change.scope.slice(4);
      const found = [...this.view().runs.values()].find((run) => run.run_id === run_id && run.status !== runs.RUNNING);
      return found ? `the run has ended: ${found.status}` : null;
    }
  }

  return { CANCEL_SECONDS, SILENT_SECONDS, setting, clearing, clearingTopic, compliance, inWords, Desk };
})();
