"""Find every place of a source file that can be mutated and whose change a user or a test could notice."""

import ast
import dataclasses
from collections.abc import Iterable, Iterator

from .mutation import Mutation
from .operators import Change, expressions, negated, statements

_LOGS = frozenset({"debug", "info", "warning", "error", "exception", "critical", "log"})
_DECLARATIONS = frozenset({"TypeVar", "ParamSpec", "NewType", "getLogger", "overload", "cast"})
_NAMES = frozenset({"__all__", "__slots__", "__match_args__"})
_REPRS = frozenset({"__repr__", "__rich_repr__"})


def mutations(source: str) -> list[Mutation]:
    """Return the mutations of a module's source in the order of their places."""
    finder, tree = _Finder(source), ast.parse(source)
    finder.visit(tree)
    readers = _readers(tree)
    found = (
        dataclasses.replace(mutation, readers=readers.get(mutation.statement, ()))
        for mutation in finder.found
    )
    return sorted(found, key=lambda mutation: (mutation.start, mutation.end, mutation.text))


def _readers(tree: ast.Module) -> dict[int, tuple[int, ...]]:
    """Return the lines that read a name, for each statement of the module or a class that assigns it."""
    reading: dict[str, set[int]] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Name(name, ast.Load()) | ast.Attribute(_, name, ast.Load()):
                reading.setdefault(name, set()).add(node.lineno)
            case _:
                pass
    bodies = [tree.body, *(node.body for node in ast.walk(tree) if isinstance(node, ast.ClassDef))]
    return {
        statement.lineno: tuple(sorted(reading.get(name, ())))
        for body in bodies
        for statement in body
        if (name := _assigned(statement))
    }


def _assigned(statement: ast.stmt) -> str:
    match statement:
        case ast.Assign([ast.Name(name)]) | ast.AnnAssign(ast.Name(name)):
            return name
        case _:
            return ""


class _Finder(ast.NodeVisitor):
    """Collect mutations; leave out annotations, decorators, logs, texts of errors, ``__repr__`` and docstrings."""

    def __init__(self, source: str) -> None:
        self.found: list[Mutation] = []
        self._statement = 1
        self._starts = [0]
        for line in source.encode().splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.stmt) and not _is_log(node):
            self._statement = node.lineno
            self._add(node, statements(node))
        elif isinstance(node, ast.expr):
            self._add(node, expressions(node))
        super().visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        if node.name not in _REPRS and not _is_overload(node):
            self._visit_all([*node.args.defaults, *(d for d in node.args.kw_defaults if d), *node.body])

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - a name of ast.NodeVisitor

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._visit_all(node.body)

    def visit_If(self, node: ast.If | ast.While) -> None:
        if ast.unparse(node.test).endswith("TYPE_CHECKING"):
            self._visit_all(node.orelse)
        else:
            self._add(node.test, negated(node.test))
            self.generic_visit(node)

    visit_While = visit_If  # noqa: N815

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant) and not _is_log(node):
            self.visit(node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        if not any(isinstance(target, ast.Name) and target.id in _NAMES for target in node.targets):
            self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if ast.unparse(node.func).rpartition(".")[2] not in _DECLARATIONS:
            self._visit_all([node.func, *node.args, *(keyword.value for keyword in node.keywords)])

    def visit_Raise(self, node: ast.Raise) -> None:
        """Leave out what it raises: mostly the text of a message."""

    def visit_Assert(self, node: ast.Assert) -> None:
        self.visit(node.test)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Leave out formatted texts: their parts have no places of their own before Python 3.12."""

    def _visit_all(self, nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            self.visit(node)

    def _add(self, node: ast.stmt | ast.expr, changes: Iterator[Change]) -> None:
        last, column = node.end_lineno or node.lineno, node.end_col_offset or 0
        start, end = self._offset(node.lineno, node.col_offset), self._offset(last, column)
        lines = range(node.lineno, (node.lineno if isinstance(node, ast.stmt) else last) + 1)
        self.found += (Mutation(lines, self._statement, what, start, end, text) for what, text in changes)

    def _offset(self, line: int, column: int) -> int:
        return self._starts[line - 1] + column


def _is_log(node: ast.AST) -> bool:
    match node:
        case ast.Expr(ast.Call(ast.Attribute(value, name))):
            return name in _LOGS and "log" in ast.unparse(value).lower()
        case _:
            return False


def _is_overload(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(ast.unparse(decorator).endswith("overload") for decorator in node.decorator_list)
