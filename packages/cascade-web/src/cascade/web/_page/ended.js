"use strict";
/** What the page says of a run that is over, or whose engine is lost: of its end, and of no report before that. No I/O. */
const ended = (() => {
  const { shown, plural, count } = words;
  const FAILED = ["Failed", "Lost"], NAMED = 3;

  /** Return which tasks ran when the process died, or the link broke; an empty text if none did. */
  function broke(rows, more = 0) {
    if (!rows.length) return "";
    const left = rows.length - NAMED + more;
    return `ran when the link broke: ${rows.slice(0, NAMED).map((row) => shown(row.task_id || row.task_name)).join(", ")}${left > 0 ? ` and ${left} more` : ""}`;
  }

  /** Return how many of the known tasks have ended; an empty text before any is known. */
  const share = ({ finished, known, open }) => (known ? `${count(finished)} of ${count(known)}${open ? " so far" : ""}` : "");

  /** Return who ended the run, or pauses it. */
  const author = (by) => (by ? `by ${shown(by, 100)}` : "");

  /** Return when a run began and ended, or was heard of last, how far it came and who ended it. */
  function summary(run, row) {
    // a lost run has no end: it may run on
    const end = row.status === "Lost" ? "last heard of" : "ended";
    const times = [run.started === null ? "" : `began ${words.moment(run.started)}`, run.ended === null ? "" : `${end} ${words.moment(run.ended)}`,
      words.between(run.started, run.ended) && `took ${words.between(run.started, run.ended)}`];
    return [row.status + (row.by ? ` ${author(row.by)}` : ""), ...times, share(row)].filter(Boolean).join(" · ");
  }

  /** Return the tasks by name of a run: those of its end, else those of the last report. */
  const tasksOf = (run) => run.end?.tasks ?? run.reported?.tasks ?? [];

  /** Return the counts by name that its graph shows; the graph of an end has its own. */
  function totalsOf(run) {
    const rows = run.end?.graph ? run.end.graph.nodes : tasksOf(run);
    return new Map(rows.map((each) => [each.name, each]));
  }

  /** Return the failed tasks to show, and how many more there are: the latest of an active run, the first of one that is over. */
  function failures(run, row) {
    const seen = [...run.failures].reverse(), rows = progress.isActive(row.status) || seen.length > run.failed.length ? seen : run.failed;
    return { rows, more: Math.max((row.counts.FAILED ?? 0) - rows.length, 0) };
  }

  function failuresNote({ rows, more }) {
    if (!more) return "";
    return rows.length ? `${count(rows.length)} of ${count(rows.length + more)}: the others' errors did not reach this page`
      : `the errors of ${plural(more, "failed task")} did not reach this page`;
  }

  /** Return when its failed and its interrupted tasks ended, as bars: no more is kept of a run that ended before the page was open. */
  function bars(run) {
    const found = timelines.none();
    for (const each of run.end?.failures ?? []) {
      if (each.ended !== null) found.mark({ task_id: each.task_id, name: each.task_name, start: each.ended, end: each.ended, state: "FAILED" });
    }
    for (const [depth, each] of (run.end?.interrupted ?? []).entries()) {
      if (each.since !== null) found.mark({ depth, task_id: each.task_id, name: each.task_name, start: each.since, end: run.ended ?? each.since, state: "UNKNOWN" });
    }
    return found;
  }

  return { FAILED, broke, share, author, summary, tasksOf, totalsOf, failures, failuresNote, bars };
})();
