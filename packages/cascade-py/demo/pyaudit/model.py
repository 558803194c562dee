"""What the audit knows: the files it reads, what it measures in them, and the report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Source:
    """One Python file."""

    path: Path
    shown: str
    """Its path below the audited folder, with forward slashes."""
    module: str
    """The name under which it is imported."""
    is_package: bool
    """Whether it is the ``__init__.py`` of its package."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A file or folder that could not be audited, and why."""

    shown: str
    line: int
    """1-based; 0 where no line is to blame."""
    problem: str


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of source: ``total == code + comment + blank``."""

    total: int = 0
    code: int = 0
    """Everything else: docstrings too."""
    comment: int = 0
    """Lines that hold nothing but a comment."""
    blank: int = 0

    def __add__(self, other: Lines) -> Lines:
        return Lines(
            self.total + other.total,
            self.code + other.code,
            self.comment + other.comment,
            self.blank + other.blank,
        )


@dataclass(frozen=True, slots=True)
class Function:
    """A function or method."""

    name: str
    """Qualified within its module: ``Class.method``, ``outer.inner``."""
    shown: str
    line: int
    complexity: int
    """Cyclomatic (McCabe 1976): the number of independent paths through it."""


@dataclass(frozen=True, slots=True)
class Import:
    """One import statement, or one name of ``import a, b``."""

    module: str
    """What follows ``import`` or ``from``, without leading dots; may be empty after dots."""
    names: tuple[str, ...]
    """What follows ``import`` in ``from m import a, b``; empty for ``import m``."""
    level: int
    """The number of leading dots."""
    deferred: bool
    """Whether importing the file leaves it unexecuted: it stands in a function or behind a guard."""


@dataclass(frozen=True, slots=True)
class Module:
    """What was measured in one file."""

    source: Source
    lines: Lines
    functions: tuple[Function, ...]
    classes: int
    imports: tuple[Import, ...]


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all files that could be audited."""

    files: int
    lines: Lines
    functions: int
    classes: int
    mean_complexity: float
    complex_functions: int
    """Functions above McCabe's own limit."""


@dataclass(frozen=True, slots=True)
class Cycle:
    """Modules that all import one another, directly or not, while being imported."""

    modules: tuple[str, ...]
    path: tuple[str, ...]
    """A shortest way round through the most imported of them; begins and ends with it."""


@dataclass(frozen=True, slots=True)
class ImportGraph:
    """Who imports whom among the audited modules."""

    modules: int
    edges: int
    """Pairs of modules of which one imports the other, at any time."""
    most_imported: tuple[tuple[str, int], ...]
    """Module and number of modules that import it, most imported first."""
    cycles: tuple[Cycle, ...]
    """Through imports that are executed on import only; largest first."""


@dataclass(frozen=True, slots=True)
class Report:
    """What the whole audit comes to."""

    totals: Totals
    most_complex: tuple[Function, ...]
    imports: ImportGraph
    findings: tuple[Finding, ...]
