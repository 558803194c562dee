"""Facts about a function's code, and the variables that it reads. No I/O."""

from __future__ import annotations

import collections
import dis
import functools
import sys
import types
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cascade.runtime.cache._digest import digest

Test = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class CodeFacts:
    """Facts about a function's code, its inner functions included."""

    code: types.CodeType
    digest: bytes
    reads: tuple[str, ...]
    """Global variables that it reads, sorted."""
    cells: tuple[int, ...]
    """Indexes of the captured variables that it reads."""
    writes: dict[str, tuple[Test, ...]]
    """Variables among these that the code only writes to, with a test of the value for each place."""

    @property
    def names(self) -> Iterator[str]:
        """All variables that the code reads and does not assign locally."""
        yield from self.reads
        yield from self.code.co_freevars

    def only_writes_to(self, name: str, value: object) -> bool:
        """Return whether a variable's value cannot reach the result: the code only appends to it, or counts it up."""
        tests = self.writes.get(name)
        return tests is not None and all(test(value) for test in tests)


def facts_of(function: types.FunctionType) -> CodeFacts:
    """Return the facts about a function's present code."""
    facts = _facts.get(function)
    if facts is None or facts.code is not function.__code__:
        facts = _facts[function] = _analyze(function.__code__)
    return facts


_facts: weakref.WeakKeyDictionary[types.FunctionType, CodeFacts] = weakref.WeakKeyDictionary()


def _analyze(code: types.CodeType) -> CodeFacts:
    read_globals: set[str] = set()
    read_cells: set[str] = set()
    uses: dict[str, list[Test | None]] = {}
    for inner in _nested(code):
        steps = [step for step in dis.get_instructions(inner) if step.opname not in _NO_EFFECT]
        for position, step in enumerate(steps):
            is_global, is_cell = step.opname in _READS_GLOBAL, step.opname in _READS_CELL
            if is_global or is_cell:
                (read_globals if is_global else read_cells).add(step.argval)
                uses.setdefault(step.argval, []).append(_write(steps[position : position + 10]))
    cells = tuple(i for i, name in enumerate(code.co_freevars) if name in read_cells)
    writes = {name: tuple(filter(None, tests)) for name, tests in uses.items() if all(tests)}
    return CodeFacts(code, _code_digest(code), tuple(sorted(read_globals)), cells, writes)


def _write(steps: Sequence[dis.Instruction]) -> Test | None:
    """Return a test of the variable that the first step reads if the code reads it only to write to its value.

    If the value passes the test, nothing of it can reach the result, and the code cannot fail
    because of it. So it is in ``calls.append(x)``, ``count += 1``, ``done[key] = x`` and ``calls["n"] += 1``.
    """
    shape = tuple(_SHORT.get(step.opname, step.opname) for step in steps[1:])
    if shape[:3] == ("CONST", "BINARY_OP", "STORE") and steps[3].argval == steps[0].argval:
        return _is_number if _adds_number(steps[1:3]) else None
    if shape[:1] not in {("CONST",), ("LOCAL",)}:
        return _is_container if _calls_writing_method(steps[1:2]) else None
    if shape[1:2] == ("STORE_SUBSCR",):
        return _takes_items
    if shape[1:] == _COUNTS_ITEM and _adds_number(steps[5:7]):
        return functools.partial(_counts, steps[1].argval) if shape[0] == "CONST" else _is_counter
    return None


def _adds_number(steps: Sequence[dis.Instruction]) -> bool:
    constant, operation = steps
    return type(constant.argval) is int and operation.argrepr == "+="


def _calls_writing_method(steps: Sequence[dis.Instruction]) -> bool:
    """Return whether the first step looks up a method, to call it, that returns None."""
    for step in steps:
        at_once = step.opname == "LOAD_METHOD" or (
            step.opname == "LOAD_ATTR" and _LOADS_METHOD & (step.arg or 0)
        )
        return bool(at_once) and step.argval in _WRITING_METHODS
    return False


def _is_number(value: object) -> bool:
    return type(value) in {int, float}


def _is_container(value: object) -> bool:
    return type(value) in {list, set, dict, collections.deque, collections.Counter, collections.defaultdict}


def _takes_items(value: object) -> bool:
    return type(value) in {dict, collections.Counter, collections.defaultdict}


def _counts(key: object, value: object) -> bool:
    return _takes_items(value) and _is_number(value.get(key, 0 if _is_counter(value) else None))  # type: ignore[attr-defined]


def _is_counter(value: object) -> bool:
    return type(value) is collections.Counter and all(map(_is_number, value.values()))


def _nested(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _nested(constant)


def _code_digest(code: types.CodeType) -> bytes:
    """Return a digest of everything in a code object except its file and line numbers."""
    constants = [_code_digest(item) if isinstance(item, types.CodeType) else item for item in code.co_consts]
    parts = (
        # another version of Python compiles to other bytecode
        sys.implementation.cache_tag,
        code.co_code,
        constants,
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        code.co_cellvars,
        code.co_flags,
        code.co_argcount,
        code.co_posonlyargcount,
        code.co_kwonlyargcount,
        code.co_exceptiontable,
    )
    return digest(parts, _Constants())


class _Constants:
    """Stands in where no function and no class can be: a code object has plain constants."""

    def of_function(self, function: types.FunctionType) -> bytes:
        return self.of_callable(function)

    def of_class(self, class_: type) -> bytes:
        return self.of_callable(class_)

    def of_type(self, class_: type) -> bytes:
        return self.of_callable(class_)

    def of_callable(self, value: object) -> bytes:
        raise AssertionError(f"internal error: {value!r} is a constant of a code object; please report it")


_READS_GLOBAL = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_READS_CELL = frozenset({"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"})
_NO_EFFECT = frozenset({"CACHE", "EXTENDED_ARG", "NOP", "RESUME"})
_SHORT = {
    **dict.fromkeys(("LOAD_CONST", "LOAD_SMALL_INT"), "CONST"),
    **dict.fromkeys(("LOAD_FAST", "LOAD_FAST_BORROW"), "LOCAL"),
    **dict.fromkeys(("STORE_GLOBAL", "STORE_DEREF"), "STORE"),
    "BINARY_SUBSCR": "BINARY_OP",
}
_LOADS_METHOD = 1 if sys.version_info >= (3, 12) else 0
"""The flag of LOAD_ATTR that looks up a method for a call; Python 3.11 has LOAD_METHOD."""
_COUNTS_ITEM = ("COPY", "COPY", "BINARY_OP", "CONST", "BINARY_OP", "SWAP", "SWAP", "STORE_SUBSCR")
_WRITING_METHODS = frozenset({"append", "appendleft", "add", "extend", "update"})
