"""A workflow in words, for who has to find out why it went wrong."""

from __future__ import annotations

from typing import Any

from cascade.spec import Call, LazyResult, MapCall, RouteCall, call_of


def describe(targets: list[LazyResult[Any]]) -> str:
    """Return a line for each call, dependencies first, and one for the targets."""
    lines = _Lines()
    wanted = [lines.name(lazy) for lazy in targets]
    return "\n".join([*lines.lines, f"targets: {', '.join(wanted)}"])


class _Lines:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self._names: dict[Call, str] = {}

    def name(self, lazy: LazyResult[Any]) -> str:
        """Return the short name of a call that has been described before."""
        call = call_of(lazy)
        if call not in self._names:
            line = self._line(call)
            self._names[call] = f"#{len(self._names)}"
            self.lines.append(f"{self._names[call]} = {line}")
        return self._names[call]

    def _line(self, call: Call) -> str:
        definition = call.definition
        function = getattr(definition.function, "__name__", "?")
        parts = [f"{definition.name} ({type(call).__name__}, {function}, {definition.mode})"]
        parts.append(self._value([*call.args]))
        parts.append(self._value({**dict(call.kwargs)}))
        if isinstance(call, MapCall):
            parts.append(f"fixed {self._value(dict(call.fixed))}, {call.limit} at a time")
        if isinstance(call, RouteCall):
            parts.append(f"routes {self._value(dict(call.routes))}")
        if call.policies.retry is not None:
            parts.append(f"{call.policies.retry.max_attempts} attempts")
        if call.policies.fallback is not None:
            parts.append(f"with {call.policies.fallback}")
        if call.policies.demands:
            parts.append(f"holding {self._value(dict(call.policies.demands))}")
        if call.policies.rate is not None:
            parts.append(f"at {call.policies.rate.rate}, burst {call.policies.rate.burst:g}")
        if call.condition is not None:
            otherwise = "skipped" if call.condition.skips else repr(call.condition.otherwise)
            parts.append(f"if {self.name(call.condition.lazy)} else {otherwise}")
        if call.predecessors:
            parts.append(f"after {self._value([*call.predecessors])}")
        return " ".join(parts)

    def _value(self, value: Any) -> str:
        if isinstance(value, LazyResult):
            return self.name(value)
        if isinstance(value, list | tuple):
            return f"[{', '.join(self._value(item) for item in value)}]"
        if isinstance(value, dict):
            return "{" + ", ".join(f"{key}: {self._value(item)}" for key, item in value.items()) + "}"
        fields = getattr(value, "__dataclass_fields__", None)
        if fields is None:
            return repr(value)
        return f"{type(value).__name__}({', '.join(self._value(getattr(value, name)) for name in fields)})"
