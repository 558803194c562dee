"""Digests of a task's code, from its source: the same in every Python version and under every module name.

A function counts with its statements, but without comments, docstrings, annotations and decorators;
so do the functions and constants of its module that it names, and those that they name in turn.
What has no source has no digest, and never counts as changed.
"""

from __future__ import annotations

import ast
import copy
import inspect
import textwrap
import types
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Any
from weakref import WeakKeyDictionary

_Definition = ast.FunctionDef | ast.AsyncFunctionDef
NOT_KNOWN = b""
_KNOWN: WeakKeyDictionary[types.FunctionType, bytes] = WeakKeyDictionary()
"""Of functions whose source was read: a service runs them again and again, and a file that changes does not change them."""


class SourceDigests:
    """Digests of functions, each read once; the source of a plain function is read once in the process."""

    def __init__(self) -> None:
        self._modules: dict[str, dict[str, ast.stmt]] = {}
        self._digests: dict[Any, bytes] = {}

    def of(self, function: Callable[..., Any]) -> bytes:
        """Return the digest of a function's code; ``b""`` if it has no source."""
        found = self._digests.get(function)
        if found is None:
            found = self._digests[function] = self._digest(function)
        return found

    def _digest(self, function: Callable[..., Any]) -> bytes:
        function = inspect.unwrap(function)
        if not isinstance(function, types.FunctionType):
            return self._read(function)
        if (found := _KNOWN.get(function)) is None:
            found = _KNOWN[function] = self._read(function)
        return found

    def _read(self, function: Callable[..., Any]) -> bytes:
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
            around = self._statements(function)
        except (OSError, TypeError, SyntaxError, ValueError):
            return NOT_KNOWN
        hasher = blake2b(digest_size=16)
        for name, statement in sorted(_reached(tree, around).items()):
            hasher.update(f"{name}\0{ast.unparse(_bare(statement))}\0".encode("utf-8", "backslashreplace"))
        hasher.update(ast.unparse(_bare(tree)).encode("utf-8", "backslashreplace"))
        return hasher.digest()

    def _statements(self, function: Callable[..., Any]) -> dict[str, ast.stmt]:
        """Return the functions and constants at the top of a function's module, by name."""
        path = inspect.getsourcefile(function) or ""
        if path not in self._modules:
            module = inspect.getmodule(function)
            tree = ast.parse(inspect.getsource(module) if module is not None else "")
            self._modules[path] = {name: each for each in tree.body for name in _names(each)}
        return self._modules[path]


def _names(statement: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement gives to a function or to a literal."""
    if isinstance(statement, _Definition):
        yield statement.name
    elif isinstance(statement, ast.Assign) and _is_literal(statement.value):
        yield from (target.id for target in statement.targets if isinstance(target, ast.Name))
    elif isinstance(statement, ast.AnnAssign) and statement.value and _is_literal(statement.value):
        yield from (statement.target.id,) if isinstance(statement.target, ast.Name) else ()


def _is_literal(value: ast.expr) -> bool:
    try:
        ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


def _reached(tree: ast.AST, around: dict[str, ast.stmt]) -> dict[str, ast.stmt]:
    """Return what a piece of code names of its module, directly or through what it names."""
    reached: dict[str, ast.stmt] = {}
    stack: list[ast.AST] = [tree]
    while stack:
        for node in ast.walk(_bare(stack.pop())):
            if isinstance(node, ast.Name) and node.id in around and node.id not in reached:
                reached[node.id] = around[node.id]
                stack.append(around[node.id])
    return reached


class _Bare(ast.NodeTransformer):
    """Leaves out what does not change what code does."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(arg=node.arg, annotation=None)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is None:
            return ast.Expr(node.target)
        return ast.Assign(targets=[node.target], value=node.value, lineno=1)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        self.generic_visit(node)
        body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
        return type(node)(
            name=node.name,
            args=node.args,
            body=body or [ast.Pass()],
            decorator_list=[],
            returns=None,
            lineno=1,
        )


def _bare(tree: Any) -> Any:
    return _Bare().visit(copy.deepcopy(tree))
