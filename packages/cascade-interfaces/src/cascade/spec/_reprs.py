"""The repr of declarations: two that differ look different, and secrets are masked. No I/O.

It takes calls and policies as they come, because their modules import this one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cascade.spec._containers import Deferred
from cascade.spec.labels import Short

_ARGUMENTS, _DEPTH = 6, 3


class _Arguments(Short):
    """Shows a lazy result without its arguments, so that a graph of any depth has a short repr."""

    def repr1(self, x: Any, level: int) -> str:
        return brief(x._call) if isinstance(x, Deferred) else super().repr1(x, level)


_arguments = _Arguments()


def described(lazy: Any) -> str:
    """Return what an error that may leave this program says: no argument's value is in it."""
    call = lazy._call
    inputs = len(call.args) + len(call.kwargs)
    return f"<{type(lazy).__name__} {call.definition.name} with {inputs} argument{'s' * (inputs != 1)}>"


def called(call: Any, *, method: str = "", fixed: Mapping[str, Any] | None = None) -> str:
    """Return a call as it is written: ``add(1, b=2)``, ``add.map(a=[1, 2])``."""
    if call.definition.structural and call.definition.name in {"item", "attribute"}:
        return brief(call)
    from cascade.interfaces.redaction import (
        Redactor,  # its patterns take time, and most programs show no call
    )

    given = {**(fixed or {}), **call.kwargs}
    arguments = [*map(_shown, call.args), *(f"{name}={_shown(value)}" for name, value in given.items())]
    text = f"{call.definition.name}{method}({_some(map(Redactor.DEFAULT.mask, arguments))})"
    text += "".join(f".{setting}" for setting in settings(call.policies))
    if call.condition is not None:
        text += f".run_if({brief(call.condition.lazy._call)})"
    if call.predecessors:
        text += f".after({_some(brief(lazy._call) for lazy in call.predecessors)})"
    return text


def brief(call: Any, depth: int = _DEPTH) -> str:
    """Return a call without its arguments: ``add(...)``, ``add(...)[0]``."""
    if not call.definition.structural or call.definition.name not in {"item", "attribute"}:
        return f"{call.definition.name}(...)" if call.args or call.kwargs else f"{call.definition.name}()"
    origin, key = call.args
    before = brief(origin._call, depth - 1) if depth else "..."
    return f"{before}[{_shown(key)}]" if call.definition.name == "item" else f"{before}.{key}"


def settings(policies: Any) -> list[str]:
    """Return the methods that gave a task its settings: ``with_retry(3)``, ``with_timeout(2)``."""
    parts = []
    if policies.retry is not None:
        parts.append(f"with_retry({policies.retry.max_attempts})")
    if policies.timeout is not None:
        parts.append(f"with_timeout({policies.timeout:g})")
    if policies.cache is not None:
        parts.append("with_cache()")
    if policies.demands:
        demands = (f"{name}={_shown(amount)}" for name, amount in policies.demands.items())
        parts.append(f"with_constraints({', '.join(demands)})")
    return parts


def _shown(value: object) -> str:
    return _arguments.line(value)


def _some(items: Iterable[str]) -> str:
    listed = list(items)
    return ", ".join(listed[:_ARGUMENTS] + ["..."] * (len(listed) > _ARGUMENTS))
