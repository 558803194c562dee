"""Digests of a task's code, from its source: the same in every Python version and under every module name.

A function counts with its statements, but without comments, docstrings, annotations of parameters and variables, and
the settings of tasks; so do the functions, classes, imports and assignments of its module that it names, and those that
they name in turn. Texts and numbers that a function captures count with their values. What has no source has no digest,
and never counts as changed.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import functools
import inspect
import textwrap
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Any, NoReturn
from weakref import WeakKeyDictionary

from cascade.runtime._recovery.references import combined, written_value
from cascade.spec import PLAIN, Call
from cascade.spec.policy_methods import PolicyMethods

NOT_KNOWN = b""
_KNOWN: WeakKeyDictionary[types.FunctionType, bytes] = WeakKeyDictionary()
"""Of functions whose source was read: a service runs them again and again, and a file that changes does not change them."""

_Bindings = dict[str, list[ast.AST]]
"""By name: the statements of a module that give the name its meaning."""


class SourceDigests:
    """Digests of functions, each read once; the source of a plain function is read once in the process."""

    def __init__(self) -> None:
        self._modules: dict[str, _Bindings] = {}
        self._digests: dict[int, tuple[object, bytes]] = {}
        """By id, because an object that is called need not have a hash; with the object, so that no other gets its id."""

    def of(self, function: Callable[..., Any]) -> bytes:
        """Return the digest of a function's code; ``b""`` if it has no source."""
        if id(function) not in self._digests:
            # for a function that captures itself
            self._digests[id(function)] = function, NOT_KNOWN
            self._digests[id(function)] = function, self._digest(function)
        return self._digests[id(function)][1]

    def _digest(self, function: Any) -> bytes:
        function = inspect.unwrap(function)
        if isinstance(function, functools.partial):
            return combined(
                [self.of(function.func), _fixed(function.args), _fixed(sorted(function.keywords.items()))]
            )
        if isinstance(function, types.MethodType):
            return combined([self.of(function.__func__), _fixed(function.__self__)])
        if isinstance(function, types.FunctionType):
            if (found := _KNOWN.get(function)) is None:
                found = _KNOWN[function] = self._read(function)
            return combined([found, *self._captured(function)]) if found else NOT_KNOWN
        if isinstance(call := getattr(type(function), "__call__", None), types.FunctionType):  # noqa: B004 - its code is read
            return combined([self.of(call), _fixed(function)])
        return self._read(function)

    def _captured(self, function: types.FunctionType) -> Iterator[bytes]:
        """Yield what stands for each captured variable that is a text, a number or a function."""
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            # a variable that has no value yet
            with contextlib.suppress(ValueError):
                value = cell.cell_contents
                if isinstance(value, types.FunctionType):
                    yield f"{name}\0".encode() + self.of(value)
                elif type(value) in PLAIN:
                    yield f"{name}\0".encode() + _fixed(value)

    def _read(self, function: Callable[..., Any]) -> bytes:
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
            around = self._bindings(function)
        except (OSError, TypeError, SyntaxError, ValueError):
            return NOT_KNOWN
        own = [_bare(each) for each in (tree, *_class_of(function, around))]
        hasher = blake2b(digest_size=16)
        for name, pieces in (*sorted(_reached(own, around).items()), ("", own)):
            for piece in pieces:
                hasher.update(f"{name}\0{_text(piece)}\0".encode("utf-8", "backslashreplace"))
        return hasher.digest()

    def _bindings(self, function: Callable[..., Any]) -> _Bindings:
        """Return what is bound at the top of a function's module."""
        path = inspect.getsourcefile(function) or ""
        if path not in self._modules:
            module = inspect.getmodule(function)
            tree = ast.parse(inspect.getsource(module) if module is not None else "")
            found = self._modules[path] = {}
            for name, piece in _bound(tree.body):
                found.setdefault(name, []).append(piece)
        return self._modules[path]


def _fixed(value: object) -> bytes:
    """Return what stands for a value that comes with the function; nothing in it waits for a run."""
    return written_value(value, _no_call)


def _no_call(call: Call) -> NoReturn:
    raise TypeError(f"{call.definition.name} is not an argument")


def _class_of(function: Callable[..., Any], around: _Bindings) -> Iterable[ast.AST]:
    """Return the class of a method at the top of a module: the method uses what its class has."""
    owner, dot, _ = function.__qualname__.partition(".")
    return [each for each in around.get(owner, ()) if dot and isinstance(each, ast.ClassDef)]


def _bound(body: Iterable[ast.stmt], headers: Sequence[ast.AST] = ()) -> Iterator[tuple[str, ast.AST]]:
    """Yield each name that statements bind, with the statement, and with the heads of those around it.

    :param headers: conditions, iterables and the like of the statements around these.
    """
    for statement in body:
        if blocks := _blocks(statement):
            heads = [each for each in ast.iter_child_nodes(statement) if not isinstance(each, _INNER)]
            for name in dict.fromkeys(name for head in heads for name in _stored(head)):
                yield from ((name, head) for head in heads)
            for block in blocks:
                yield from _bound(block, [*headers, *heads])
            continue
        for name, piece in _of_statement(statement):
            yield from ((name, header) for header in headers)
            yield name, piece


def _of_statement(statement: ast.stmt) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name, statement
    elif isinstance(statement, ast.Import):
        yield from ((_bound_by(each), ast.Import([each])) for each in statement.names)
    elif isinstance(statement, ast.ImportFrom):
        for each in statement.names:
            yield _bound_by(each), ast.ImportFrom(statement.module, [each], statement.level)
    else:
        yield from ((name, statement) for name in dict.fromkeys(_stored(statement)))


def _bound_by(alias: ast.alias) -> str:
    return alias.asname or alias.name.partition(".")[0]


def _stored(tree: ast.AST) -> Iterator[str]:
    """Yield the names that a statement binds, or whose items or attributes it sets."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store):
            root: ast.AST = node
            while isinstance(root, ast.Subscript | ast.Attribute):
                root = root.value
            if isinstance(root, ast.Name):
                yield root.id


def _blocks(statement: ast.stmt) -> list[list[ast.stmt]]:
    """Return the blocks of a compound statement that defines neither a function nor a class."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return []
    inner = [*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())]
    found = [getattr(each, name, None) for each in (statement, *inner) for name in _BLOCKS]
    return [block for block in found if block]


_BLOCKS = ("body", "orelse", "finalbody")
_INNER = (ast.stmt, ast.ExceptHandler, ast.match_case)


def _reached(trees: Iterable[ast.AST], around: _Bindings) -> dict[str, list[ast.AST]]:
    """Return what pieces of code name of their module, directly or through what they name, without what has no effect."""
    reached: dict[str, list[ast.AST]] = {}
    stack = [*trees]
    while stack:
        for node in ast.walk(stack.pop()):
            if isinstance(node, ast.Name) and node.id in around and node.id not in reached:
                reached[node.id] = [_bare(piece) for piece in around[node.id]]
                stack += reached[node.id]
    return reached


class _Bare(ast.NodeTransformer):
    """Leaves out what does not change what code does."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        # the types of fields count: libraries check and convert values by them
        fields = [
            each if isinstance(each, ast.AnnAssign) else self.visit(each) for each in _undescribed(node)
        ]
        node.body = fields or [ast.Pass()]
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(arg=node.arg, annotation=None)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        self.generic_visit(node)
        if node.value is None:
            return ast.Expr(node.target)
        return ast.Assign(targets=[node.target], value=node.value, lineno=1)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Attribute) and node.func.attr in _SETTINGS:
            return node.func.value
        return node.args[0] if len(node.args) == 1 and _declares(node.func) else node

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        decorators = [each for each in node.decorator_list if not _declares(each)]
        self.generic_visit(node)
        return type(node)(
            name=node.name,
            args=node.args,
            body=_undescribed(node) or [ast.Pass()],
            decorator_list=decorators,
            returns=None,
            lineno=1,
        )


def _declares(node: ast.expr) -> bool:
    """Return whether this is ``cs.task``, or ``cs.task(mode="process")``, whose settings do not count."""
    called = node.func if isinstance(node, ast.Call) else node
    return (called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")) in _DECLARING


_DECLARING = frozenset({"task", "resource", "workflow"})
_SETTINGS = frozenset(
    {name for name in vars(PolicyMethods) if name[0] != "_"} | {"named", "with_concurrency"}
)


def _undescribed(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> list[ast.stmt]:
    """Return the statements of a function or a class without the docstring."""
    return node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body


def _bare(tree: Any) -> Any:
    return _Bare().visit(copy.deepcopy(tree))


def _text(tree: ast.AST) -> str:
    return ast.unparse(ast.fix_missing_locations(tree))
