"""Measure one file: lines, functions, classes, cyclomatic complexity, imports."""

from __future__ import annotations

import ast
import io
import re
import threading
import tokenize
from dataclasses import dataclass

from .model import Finding, Function, Import, Lines, Module, Source

# Strings are matched so that what looks like a comment inside one is none. (Since 3.12 an
# f-string may hold its own quotes again; one line in 59,000 of the standard library differs.)
# No possessive quantifiers: CPython 3.11.2, for one, matches wrongly with them beside what is captured.
_STRING_OR_COMMENT = re.compile(
    r'''
      """[^"\\]*(?:(?:\\.|"(?!""))[^"\\]*)*"""
    | \'\'\'[^'\\]*(?:(?:\\.|'(?!\'\'))[^'\\]*)*\'\'\'
    | "[^"\\\n]*(?:\\.[^"\\\n]*)*"
    | '[^'\\\n]*(?:\\.[^'\\\n]*)*'
    | (?P<comment_line>^[ \t\f]*\#[^\n]*)
    | \#[^\n]*
    ''',
    re.DOTALL | re.MULTILINE | re.VERBOSE,
)


# In Python 3.11 threads that parse at once share one count of the depth of their trees (CPython
# issue 106905), and one of them fails now and then. Parsing holds the GIL: waiting costs nothing.
_parser = threading.Lock()


def measure(source: Source) -> Module | Finding:
    """Read and measure a file; one that cannot be read or parsed is a finding."""
    try:
        return measure_text(source, decode(source.path.read_bytes()))
    except SyntaxError as error:
        return Finding(source.shown, error.lineno or 0, error.msg)
    except UnicodeDecodeError as error:
        return Finding(source.shown, 0, f"not {error.encoding} text: {error.reason}")
    except OSError as error:
        return Finding(source.shown, 0, f"cannot be read: {error.strerror or error}")
    except (ValueError, RecursionError, MemoryError) as error:  # a NUL; nested beyond the parser's stack
        return Finding(source.shown, 0, str(error) or type(error).__name__)


def decode(data: bytes) -> str:
    """Return the text of a source file, as the compiler reads it (PEP 263), lines ended by ``\\n``.

    :raises SyntaxError: if its first two lines name no encoding that is known, or a wrong one.
    :raises UnicodeDecodeError: if the rest is not in that encoding.
    """
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    return io.TextIOWrapper(io.BytesIO(data), encoding).read()


def parse(text: str) -> ast.Module:
    """Return the syntax tree of a module; from any thread.

    :raises SyntaxError: if it is not Python of the running interpreter's version.
    """
    with _parser:
        return ast.parse(text)


def measure_text(source: Source, text: str) -> Module:
    """Measure ``text``, the contents of ``source``.

    :raises SyntaxError: if it is not Python of the running interpreter's version.
    """
    survey = _Survey(source.shown)
    survey.walk(parse(text))
    return Module(source, count_lines(text), survey.functions(), survey.classes, tuple(survey.imports))


def count_lines(text: str) -> Lines:
    """Count the lines of valid Python; only ``\\n`` ends a line."""
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()  # what follows the last line's end is not a line
    blank = sum(not line.strip() for line in lines)
    comment = sum(match.lastgroup == "comment_line" for match in _STRING_OR_COMMENT.finditer(text))
    return Lines(len(lines), len(lines) - blank - comment, comment, blank)


def decision_points(statement: ast.stmt) -> int:
    """Return how many paths the statement itself adds to its function's."""
    match statement:
        case ast.If() | ast.For() | ast.AsyncFor() | ast.While():
            return 1
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return 1
        case ast.Try() | ast.TryStar():
            return len(statement.handlers) + bool(statement.orelse)
        case ast.Match():
            return len(statement.cases) - _has_default(statement)
        case _:
            return 0


def _has_default(statement: ast.Match) -> bool:
    last = statement.cases[-1]
    return last.guard is None and _matches_all(last.pattern)


def _matches_all(pattern: ast.pattern) -> bool:
    match pattern:
        case ast.MatchAs():
            return pattern.pattern is None or _matches_all(pattern.pattern)
        case ast.MatchOr():
            return any(_matches_all(alternative) for alternative in pattern.patterns)
        case _:
            return False


@dataclass(frozen=True, slots=True)
class _Scope:
    """Where a statement stands."""

    names: tuple[str, ...] = ()
    functions: tuple[int, ...] = ()
    deferred: bool = False


class _Survey:
    """Walks the statements of a module, without recursion: an ``elif`` is one level deeper."""

    def __init__(self, shown: str) -> None:
        self.classes = 0
        self.imports: list[Import] = []
        self._shown = shown
        self._names: list[tuple[str, int]] = []
        self._complexity: list[int] = []
        self._pending: list[tuple[ast.stmt, _Scope]] = []

    def walk(self, tree: ast.Module) -> None:
        self._push(tree.body, _Scope())
        while self._pending:
            statement, scope = self._pending.pop()
            for function in scope.functions:
                self._complexity[function] += decision_points(statement)
            self._visit(statement, scope)

    def functions(self) -> tuple[Function, ...]:
        found = zip(self._names, self._complexity, strict=True)
        return tuple(Function(name, self._shown, line, complexity) for (name, line), complexity in found)

    def _visit(self, statement: ast.stmt, scope: _Scope) -> None:
        match statement:
            case ast.Import():
                self.imports += [Import(alias.name, (), 0, scope.deferred) for alias in statement.names]
            case ast.ImportFrom():
                names = tuple(alias.name for alias in statement.names)
                self.imports.append(Import(statement.module or "", names, statement.level, scope.deferred))
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._push(statement.body, self._enter_function(statement, scope))
            case ast.ClassDef():
                self.classes += 1
                self._push(
                    statement.body, _Scope((*scope.names, statement.name), scope.functions, scope.deferred)
                )
            case ast.If() if _is_guard(statement.test):
                self._push(statement.orelse, scope)
                self._push(statement.body, _Scope(scope.names, scope.functions, deferred=True))
            case _:
                self._push(_inner(statement), scope)

    def _enter_function(self, function: ast.FunctionDef | ast.AsyncFunctionDef, scope: _Scope) -> _Scope:
        names = (*scope.names, function.name)
        self._names.append((".".join(names), function.lineno))
        self._complexity.append(1)
        return _Scope(names, (*scope.functions, len(self._names) - 1), deferred=True)

    def _push(self, statements: list[ast.stmt], scope: _Scope) -> None:
        self._pending.extend((statement, scope) for statement in reversed(statements))


def _inner(statement: ast.stmt) -> list[ast.stmt]:
    """Return the statements directly inside one that is neither function nor class."""
    match statement:
        case ast.Match():
            return [inner for case in statement.cases for inner in case.body]
        case ast.Try() | ast.TryStar():
            handled = [inner for handler in statement.handlers for inner in handler.body]
            return [*statement.body, *handled, *statement.orelse, *statement.finalbody]
        case ast.If() | ast.For() | ast.AsyncFor() | ast.While():
            return [*statement.body, *statement.orelse]
        case ast.With() | ast.AsyncWith():
            return statement.body
        case _:
            return []


def _is_guard(test: ast.expr) -> bool:
    """Tell whether ``if test:`` keeps its body from being executed on import."""
    match test:
        case ast.Name("TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"):
            return True
        case ast.Compare(ast.Name("__name__"), [ast.Eq()], [ast.Constant("__main__")]):
            return True
        case _:
            return False
