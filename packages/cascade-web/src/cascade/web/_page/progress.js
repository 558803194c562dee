"use strict";
/** The numbers of a run as every screen shows them: `progress` of `cascade.wire`. No I/O. */
const progress = (() => {
  const PAUSED = "Paused", UNKNOWN = "unknown", WORDS = ["completed", "running", "waiting", "failed", "skipped", "recorded", "cancelled"];
  const LABELS = { recorded: "taken from the record" }, RECORDED = ["recorded in attempt ", "its failure was kept in attempt "];
  const isActive = (status) => [runs.RUNNING, PAUSED, UNKNOWN].includes(status);
  const sum = (numbers) => numbers.reduce((total, each) => total + each, 0);

  /**
   * Return `{status, finished, known, open, running, waiting, percent, left_s, tasks}`.
   * `waits`: each reason to wait and how many tasks wait for it, or null if the reasons are not known.
   */
  function of(counts, { status = runs.RUNNING, recorded = 0, known = 0, open = false, waits = null, paused = false, left_s = null } = {}) {
    const finished = sum(runs.TERMINAL.map((state) => counts[state] ?? 0)), active = status === runs.RUNNING;
    const all = Math.max(known, sum(Object.values(counts)));
    const { running, waiting } = unfinished(counts, all ? all - finished : null, active ? waits : null);
    const found = { running, waiting, ...Object.fromEntries(runs.TERMINAL.map((state) => [state.toLowerCase(), counts[state] ?? 0])) };
    found.recorded = Math.min(recorded, found.skipped);
    found.skipped -= found.recorded;
    const hasShare = active && !open && all > 0;
    return { status: active && paused ? PAUSED : status, finished, known: all, open, running, waiting,
      // the value of the last task may still add some: only the end of the run means 100 %
      percent: hasShare ? Math.min(Math.floor(100 * finished / all), 99) : null,
      left_s: left_s !== null && hasShare && !paused && finished < all ? Math.max(left_s, 0) : null,
      tasks: Object.fromEntries(WORDS.filter((word) => found[word]).map((word) => [word, found[word]])) };
  }

  function unfinished(counts, rest, waits) {
    let retrying = counts.RETRYING ?? 0;
    if (waits) retrying = Math.min(retrying, sum(waits.filter(({ why }) => why === "retry").map(({ n }) => n)));
    const running = (counts.RUNNING ?? 0) + (counts.RETRYING ?? 0) - retrying, waiting = (counts.BLOCKED ?? 0) + retrying;
    const most = Math.max(0, ...(waits ?? []).map(({ n }) => n));
    // events may be ahead of the report that has the reasons; before a task is known, nothing bounds them
    return { running, waiting: Math.max(waiting, Math.min(most, rest === null ? most : rest - running)) };
  }

  /** Whether a running run has lost its engine. */
  function isLost(view, run, now) {
    const engine = view.engines.get(run.source);
    return run.status === runs.RUNNING && (!["online", "unknown"].includes(engine?.status(now)) || engine.runsOfAnother(now));
  }

  /** Whether a process says that a run is lost while another one uses its name. */
  function isDisputed(view, run, now) {
    const engine = view.engines.get(run.source);
    return run.status === runs.LOST && Boolean(engine?.isLive(now) && engine.contested);
  }

  /** Return tasks by state; of a lost run those of the last report, which is all that its engine's next process knows. */
  const countsOf = (view, run, now) => (isLost(view, run, now) && run.reported ? run.reported : run).counts;

  /** Whether only what the broker kept has come of an engine, which does not show whether it lives. */
  const isUnheard = (engine, now) => engine?.status(now) === UNKNOWN && !engine.onlyEvents;

  /** Return how far a run of a view is: `run_progress` of `cascade.wire`. */
  function ofRun(view, run, now) {
    const running = run.status === runs.RUNNING, active = running ? run.reported : null, lost = isLost(view, run, now);
    const found = of(countsOf(view, run, now), { recorded: (lost && active ? active : run).recorded, status: lost ? runs.LOST : run.status,
      known: run.known, open: active?.open ?? running, waits: !active || active.waiting_more ? null : active.waiting,
      paused: pauses(view, run).length > 0, left_s: active?.eta_s ?? null });
    return (isActive(found.status) && isUnheard(view.engines.get(run.source), now)) || isDisputed(view, run, now) ? { ...found, status: UNKNOWN, left_s: null } : found;
  }

  /** Return the reasons for which tasks of a run wait, none with more tasks than wait in all. */
  function waitingRows(view, run, now) {
    const { waiting } = ofRun(view, run, now), rows = run.status === runs.RUNNING ? run.reported?.waiting ?? [] : [];
    return rows.filter(({ n }) => n && waiting).map((row) => ({ ...row, n: Math.min(row.n, waiting) }));
  }

  /** Return why gates hold tasks of a run, in words. */
  const heldTexts = (view, run, now) => [...new Set(waitingRows(view, run, now).map(({ text }) => text).filter(Boolean))];

  /** Return what a person reads behind a number of tasks. */
  const label = (word) => LABELS[word] ?? word;
  /** Whether a task was skipped because an earlier attempt of the run has recorded its value or its failure. */
  const isRecorded = (reason) => RECORDED.some((start) => reason.startsWith(start));

  /** Return the authors of the pauses that cover everything in a run; an empty text for one that names none. */
  function pauses(view, run) {
    const engine = view.engines.get(run.source), own = `run:${run.run_id}`;
    if (!engine) return [];
    const ofPause = (rows) => rows.filter(({ type }) => type === "pause");
    if (engine.constraints) return ofPause(engine.constraints.effective).filter(({ scope }) => scope === own || views.coversAll(scope)).map(({ by }) => by);
    const found = ofPause(run.reported?.waiting ?? []).filter(({ topic }) => engine.paused || fields.constraintTopic(topic)?.[0] === own)
      .map(({ topic }) => view.registers.get(topic)?.by ?? "");
    return found.length || !engine.paused ? found : [""];
  }

  /** Return who ended a run, or who pauses it now, as the messages claim; empty if that is nobody or not known. */
  const authorOf = (view, run, status) => (status === PAUSED ? pauses(view, run).find(Boolean) ?? "" : run.by);

  return { authorOf, countsOf, PAUSED, isActive, isDisputed, label, heldTexts, isRecorded, of, ofRun, waitingRows };
})();
