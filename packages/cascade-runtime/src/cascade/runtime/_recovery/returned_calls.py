"""Calls that a task returned, as plain values that a later process turns into the same calls. No I/O.

A task is known by its module and name, an argument by its value, another call by its number in the
plan, and a call of a graph around it by its key. The module of the run's own target counts as
"", because it has another name as ``python night.py`` than as ``cascade run night.py``.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from cascade.interfaces import UnstorableValueError
from cascade.runtime._graph.dependencies import dependencies_first
from cascade.runtime._graph.recorded import RecordedGraph
from cascade.spec import (
    Call,
    CallSettings,
    Condition,
    LazyResult,
    MapCall,
    RouteCall,
    Router,
    Search,
    Task,
    call_of,
    collected,
    sequence,
    settings_of,
)

_VALUE, _LIST, _TUPLE, _DICT, _CALL, _OUTER = "value", "list", "tuple", "dict", "call", "outer"
_CONTAINERS: Mapping[type, str] = {list: _LIST, tuple: _TUPLE, dict: _DICT}
_STRUCTURES: Mapping[str, Callable[..., LazyResult[Any]]] = {
    "collected": collected,
    "sequence": lambda ordered: LazyResult(Call(call_of(sequence()).settings, (ordered,))),
    "item": lambda lazy, key: lazy[key],
    "attribute": getattr,
}
"""How to declare a step of the graph anew from its arguments."""


def encode(graph: RecordedGraph, lazy: LazyResult[Any], *, home: str) -> dict[str, Any]:
    """Return the plan of what a task returned; ``graph`` is where it is to be built, ``home`` the target's module.

    :raises UnstorableValueError: if a part of it cannot be found again by its name.
    """
    return _Encoder(graph, home).encode(lazy)


def decode(graph: RecordedGraph, content: Mapping[str, Any], *, home: str) -> LazyResult[Any]:
    """Return the calls of a plan; ``graph`` is the one of the call that had returned them.

    :raises Exception: if a task or a call that it names is gone.
    """
    return _Decoder(graph, home).decode(content)


class _Encoder:
    def __init__(self, graph: RecordedGraph, home: str) -> None:
        self._graph = graph
        self._home = home
        self._numbers: dict[Call, int] = {}

    def encode(self, lazy: LazyResult[Any]) -> dict[str, Any]:
        calls: list[Any] = []
        for call, _ in dependencies_first([call_of(lazy)], Search(), self._graph.is_outer):
            calls.append(self._call(call))
            self._numbers[call] = len(self._numbers)
        return {"turn": self._graph.turn, "calls": calls, "result": self._value(lazy)}

    def _call(self, call: Call) -> dict[str, Any]:
        found: dict[str, Any] = {
            "args": [self._value(value) for value in call.args],
            "kwargs": {name: self._value(value) for name, value in call.kwargs.items()},
            **self._callee(call),
        }
        if isinstance(call, MapCall):
            found["fixed"] = {name: self._value(value) for name, value in call.fixed.items()}
            found["limit"] = call.limit
        if call.predecessors:
            found["after"] = [self._value(lazy) for lazy in call.predecessors]
        if call.condition is not None:
            otherwise = self._value(call.condition.otherwise)
            found["condition"] = [self._value(call.condition.lazy), otherwise, call.condition.skips]
        return found

    def _callee(self, call: Call) -> dict[str, Any]:
        name = call.definition.name
        if isinstance(call, RouteCall) and name == "route":
            return {"routes": [[key, self._value(route)] for key, route in call.routes.items()]}
        if type(call) is Call and call.definition.structural and name in _STRUCTURES:
            return {"structure": name}
        if call.definition.structural:
            raise _unknown(call)
        return {"task": self._task(call)}

    def _task(self, call: Call) -> list[Any]:
        """Return how a later process finds the task, and what this call of it changes."""
        function, policies = call.definition.function, call.policies
        module, qualname = function.__module__, function.__qualname__
        try:
            settings = _settings(module, qualname)
        except (ImportError, AttributeError, TypeError):
            raise _unknown(call) from None
        if settings.definition.function is not function or settings.definition.mode != call.definition.mode:
            raise _unknown(call)
        same = policies is settings.policies
        if not same and any(isinstance(each, LazyResult) for each in (policies.demands or {}).values()):
            raise _unknown(call)
        module = "" if module == self._home else module
        return [module, qualname, call.definition.name, call.settings.label, None if same else policies]

    def _value(self, value: Any) -> list[Any]:
        if isinstance(value, LazyResult):
            call = call_of(value)
            number = self._numbers.get(call)
            return [_OUTER, self._graph.key_of(call)] if number is None else [_CALL, number]
        if not Search().inside(value):
            return [_VALUE, value]
        kind = type(value)
        if kind is dict and not any(Search().inside(key) for key in value):
            return [_DICT, [[key, self._value(item)] for key, item in value.items()]]
        if kind not in (list, tuple):
            raise UnstorableValueError(value, "holds a call in something other than a list, tuple or dict")
        return [_CONTAINERS[kind], [self._value(item) for item in value]]


class _Decoder:
    def __init__(self, graph: RecordedGraph, home: str) -> None:
        self._graph = graph
        self._home = home
        self._lazies: list[LazyResult[Any]] = []

    def decode(self, content: Mapping[str, Any]) -> LazyResult[Any]:
        for found in content["calls"]:
            self._lazies.append(self._call(found))
        result: LazyResult[Any] = self._value(content["result"])
        return result

    def _call(self, found: Mapping[str, Any]) -> LazyResult[Any]:
        args = [self._value(value) for value in found["args"]]
        kwargs = {name: self._value(value) for name, value in found["kwargs"].items()}
        if "routes" in found:
            lazy: LazyResult[Any] = Router(
                args[0], {key: self._value(route) for key, route in found["routes"]}
            )
        elif "structure" in found:
            lazy = _STRUCTURES[found["structure"]](*args)
        else:
            lazy = self._task_call(found, args, kwargs)
        after = [self._value(each) for each in found.get("after", ())]
        lazy = lazy.after(*after) if after else lazy
        if "condition" in found:
            condition, otherwise, skips = found["condition"]
            made = Condition(self._value(condition), self._value(otherwise), skips)
            call = call_of(lazy)
            lazy = LazyResult(replace(call, settings=replace(call.settings, condition=made)))
        return lazy

    def _task_call(
        self, found: Mapping[str, Any], args: list[Any], kwargs: dict[str, Any]
    ) -> LazyResult[Any]:
        module, qualname, name, label, policies = found["task"]
        settings = _settings(module or self._home, qualname)
        if (settings.definition.name, settings.label) != (name, label):
            settings = replace(settings, label=label, definition=replace(settings.definition, name=name))
        if policies is not None:
            settings = replace(settings, policies=policies)
        if "fixed" not in found:
            return LazyResult(Call(settings, tuple(args), kwargs))
        fixed = {key: self._value(value) for key, value in found["fixed"].items()}
        return LazyResult(MapCall(settings, (), kwargs, fixed=fixed, limit=found["limit"]))

    def _value(self, encoded: list[Any]) -> Any:
        kind, content = encoded
        if kind == _VALUE:
            return content
        if kind == _CALL:
            return self._lazies[content]
        if kind == _OUTER:
            call = self._graph.declared_as(content)
            if call is None:
                raise LookupError(f"the call {content} is not declared")
            return LazyResult(call)
        if kind == _DICT:
            return {key: self._value(item) for key, item in content}
        return (list if kind == _LIST else tuple)(self._value(item) for item in content)


def _unknown(call: Call) -> UnstorableValueError:
    return UnstorableValueError(
        call, f"is a call of {call.definition.name!r}, which has no name to find it by"
    )


def _settings(module: str, qualname: str) -> CallSettings:
    """Return the settings of the task that a module has under a name.

    :raises ImportError: if the module does not exist.
    :raises AttributeError: if it does not have the task.
    """
    home = sys.modules.get(module) or importlib.import_module(module)
    found = functools.reduce(getattr, qualname.split("."), home)
    if not isinstance(found, Task):
        raise AttributeError(f"{module}.{qualname} is not a task")
    return settings_of(found)
