"use strict";
/** What the page may say of engines on NATS that it sees through nats-server's MQTT: of some only events arrive, none gets what is set here. No I/O. */
const evidence = (() => {
  const { shown, plural, duration } = words;
  const NOT_KNOWN = "not known";
  const NO_REPORTS = "Not known: only events of this engine arrive, no reports.";
  // what a user has to read to know the state of engines
  const STATUS_TOPICS = "cascade/status/+", STATE_TOPICS = "cascade/state/+/+", CONSTRAINT_TOPICS = "cascade/constraints/#";

  function named(sources) {
    const found = sources.slice(0, 3).map((each) => shown(each, 40));
    const last = sources.length > 3 ? `${sources.length - 3} more` : found.pop();
    return found.length ? `${found.join(", ")} and ${last}` : last;
  }

  /** Return what the page does not know of the engines without state, and what to do. */
  function banner(sources) {
    const one = sources.length === 1, are = one ? "it is" : "they are";
    return `Only events of ${named(sources)} arrive here, neither a birth nor a report. So this page does not know whether ${are} online, `
      + `which constraints ${one ? "it obeys" : "they obey"}, or what waits. If ${are} connected over NATS, MQTT clients such as this page get only ${one ? "its" : "their"} events, `
      + `and what you set here does not reach ${one ? "it" : "them"}: use “cascade watch --broker nats://HOST” and “cascade pause SOURCE --broker nats://HOST”. `
      + `If ${are} connected over MQTT, this user may not read ${STATUS_TOPICS} and ${STATE_TOPICS}.`;
  }

  /** Return what is not known of engines that are online and whose reports do not arrive, and what to do. */
  const unreported = (sources) => `Not known: no report of ${named(sources)} arrives. The access rules do not let this user read ${STATE_TOPICS}, or the engine write its reports.`;

  /** Return what to do about the engines that do not get what is set here. */
  const unreached = (sources) => `What you set here does not reach ${named(sources)}: reports come without it. An engine over NATS needs `
    + "“cascade pause SOURCE --broker nats://HOST”; one over MQTT may not read cascade/constraints/#.";

  /** Return what the row of such an engine says. `isSure`: everything that is retained has arrived, and it has had the time to report. */
  function note({ isSure, mayRead, silent }) {
    const last = `last event ${duration(silent)} ago`;
    if (!mayRead) return `only its events arrive: this user may not read its reports · ${last}`;
    if (!isSure) return `so far only events, neither a birth nor a report · ${last}`;
    return `only its events arrive: whether it is online, its constraints and what waits are not known here. Over NATS, what you set here does not reach it · ${last}`;
  }

  /** Return the status of an engine; where births are hidden from this user, one that does not report now is not lost for that. */
  function presenceOf(engine, now, isHidden) {
    const status = engine.status(now);
    return isHidden && status === "lost" && !engine.presence ? "unknown" : status;
  }

  /** Whether an engine has said nothing for longer than it does while a run is active: it repeats its report every 10 s. */
  const isOld = (engine, page) => Boolean(engine?.runs?.seconds) && engine.isSilent(page.now) && page.clock - engine.runs.seconds > 60;

  /** Return counts in words, with what is missing in them. */
  function counted(run, text) {
    if (!run.partial) return text;
    return `seen here: ${text || "no tasks"}${run.missing ? ` · ${plural(run.missing, "event")} did not reach this page` : ""}`;
  }

  /** Return how the page shows the status of a run: no event shows that the run of a silent engine goes on, and none that it does not. */
  function statusOf(engine, row, now) {
    return progress.isActive(row.status) && engine?.onlyEvents && engine.isSilent(now) ? "unknown" : row.status;
  }

  return { unreported, NOT_KNOWN, NO_REPORTS, STATUS_TOPICS, STATE_TOPICS, CONSTRAINT_TOPICS, presenceOf, isOld, named, banner, unreached, note, counted, statusOf };
})();
