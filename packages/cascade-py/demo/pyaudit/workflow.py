"""The audit as a graph of tasks: one for every file, then a few that reduce them to a report."""

from __future__ import annotations

from collections.abc import Sequence

import cascade as cs
from cascade import LazyResult

from . import graph, metrics, summary
from .model import Finding, Function, ImportGraph, Module, Report, Source, Totals


@cs.task
def audit(source: Source) -> Module | Finding:
    """Measure one file."""
    return metrics.measure(source)


@cs.task
def count(measured: Sequence[Module | Finding]) -> Totals:
    """Add up lines, functions and classes."""
    return summary.totals_of(summary.modules_of(measured))


@cs.task
def rank(measured: Sequence[Module | Finding], top: int) -> list[Function]:
    """Find the most complex functions."""
    return summary.most_complex(summary.modules_of(measured), top=top)


@cs.task
def connect(measured: Sequence[Module | Finding], top: int) -> ImportGraph:
    """Build the import graph."""
    return graph.import_graph(summary.modules_of(measured), top=top)


@cs.task
def report(
    unreadable: Sequence[Finding],
    measured: Sequence[Module | Finding],
    totals: Totals,
    functions: Sequence[Function],
    imports: ImportGraph,
) -> Report:
    """Put the parts together."""
    findings = (*unreadable, *summary.findings_of(measured))
    return Report(totals, tuple(functions), imports, findings)


def audit_of(sources: Sequence[Source], unreadable: Sequence[Finding], *, top: int) -> LazyResult[Report]:
    """Declare the whole audit; tables of the report have at most ``top`` rows. Nothing runs yet."""
    measured = audit.map(source=sources)
    return report(unreadable, measured, count(measured), rank(measured, top), connect(measured, top))
