"""Notes on a scope that names nothing which the broker shows: it may be mistyped. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from cascade.cli._steering.request import Change
from cascade.cli.columns import listed
from cascade.cli.snapshot import RUNS, WORKFLOWS
from cascade.interfaces.text import nearest
from cascade.wire import ActiveRun, View

_REPORTS = {"run": RUNS, "task": RUNS, "workflow": WORKFLOWS}


def reports_on(scope: str) -> tuple[str, ...]:
    """Return the topic filters of the reports that :func:`note_on_scope` reads."""
    kind = scope.partition(":")[0]
    return (_REPORTS[kind],) if kind in _REPORTS else ()


def note_on_scope(change: Change, view: View) -> str:
    """Return a note if no engine has what a new constraint names, which engines obey all the same; empty otherwise.

    Where no engine runs or offers anything there is none: the name is that of a later run.
    """
    kind, _, name = change.scope.partition(":")
    if change.clears or kind not in _REPORTS:
        return ""
    if kind == "workflow":
        return _on_workflow(name, view)
    reports = [engine.runs for engine in view.engines.values() if engine.runs is not None]
    runs = [run for report in reports for run in report.runs]
    if not runs or any(report.more for report in reports):
        return ""
    return _on_run(name, runs) if kind == "run" else _on_tasks(name, runs)


def note_on_nothing_held(change: Change, kept: Sequence[str]) -> str:
    """Return the note on a change that clears what the broker does not hold.

    :param kept: the engines that obeyed it all the same.
    """
    if kept:
        return f"the broker had lost this {change.type or 'constraint'}; {listed(kept)} still obeyed it"
    what = f"{'such ' if change.by_id else ''}{change.type or 'constraint'}"
    return f"the broker holds no {what} on {change.scope}; cascade constraints lists what is in force"


def _on_workflow(name: str, view: View) -> str:
    offers = [engine.workflows for engine in view.engines.values() if engine.workflows is not None]
    offered = {each.name for report in offers for each in report.workflows}
    if not offered or name in offered or any(report.more for report in offers):
        return ""
    return f"no service offers {name}: only a cascade run FILE.py:{name} obeys{_hint('workflow', nearest(name, offered))}"


def _on_run(name: str, runs: Iterable[ActiveRun]) -> str:
    active = [run.run_id for run in runs]
    if name in active:
        return ""
    # watch shows the beginning of a long id, and the id of a request is the end of its run's
    meant = [each for each in active if each.startswith(name) or each.endswith(f"~{name}")]
    near = meant[0] if len(meant) == 1 else nearest(name, active)
    return f"no run {name} is active now, and a later one obeys{_hint('run', near)}"


def _on_tasks(pattern: str, runs: Iterable[ActiveRun]) -> str:
    names = {name for run in runs for name in run.tasks}
    if any(run.tasks_more for run in runs) or any(fnmatchcase(name, pattern) for name in names):
        return ""
    return f"no run has a task {pattern} now, and a later one obeys{_hint('task', nearest(pattern, names))}"


def _hint(kind: str, near: str) -> str:
    return f"; did you mean {kind}:{near}?" if near else ""
