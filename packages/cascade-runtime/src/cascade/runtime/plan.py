"""What a target would run: described without running anything. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from cascade.interfaces import UsageError
from cascade.runtime.arguments import Search
from cascade.runtime.needs import Role, needs_of
from cascade.spec import Call, InputCall, LazyResult, MapCall, RouteCall, call_of


@dataclass(frozen=True, slots=True)
class Edge:
    """One step needs another."""

    source: str
    """Id of the step that comes first."""
    role: Role
    """``argument``, ``condition``, ``amount``: its value is taken; ``before``: only the order; ``route``: perhaps."""


@dataclass(frozen=True, slots=True)
class Step:
    """One call, or one choice, map or input."""

    id: str
    """The task's name and its place in the plan."""
    name: str
    kind: Literal["task", "map", "route", "input", "structure"]
    mode: str
    edges: tuple[Edge, ...]
    max_attempts: int = 1
    timeout: float | None = None
    """Seconds that an attempt may take."""
    cached: bool = False


def plan(target: LazyResult[Any] | list[LazyResult[Any]]) -> list[Step]:
    """Return the steps of a target, dependencies first, all routes included.

    A map is one step, because its items may be known only in the run.

    :raises UsageError: if a container was changed so that a task waits for itself.
    """
    stack = [call_of(lazy) for lazy in ([target] if isinstance(target, LazyResult) else target)][::-1]
    numbers: dict[Call, int] = {}
    opened: dict[Call, list[tuple[Call, Role]]] = {}
    steps: list[Step] = []
    search = Search()
    while stack:
        call = stack[-1]
        if call not in opened:
            opened[call] = needs_of(call, search)
            for needed, _ in reversed(opened[call]):
                if needed in opened and needed not in numbers:
                    raise UsageError(f"task {needed.definition.name!r} waits for itself")
                if needed not in opened:
                    stack.append(needed)
            continue
        stack.pop()
        if call not in numbers:
            numbers[call] = len(steps)
            steps.append(_step(call, numbers, opened[call]))
    return steps


def _step(call: Call, numbers: dict[Call, int], needs: list[tuple[Call, Role]]) -> Step:
    def name_of(each: Call) -> str:
        return f"{each.definition.name}-{numbers[each]}"

    retry = call.policies.retry
    return Step(
        id=name_of(call),
        name=call.definition.name,
        kind=_kind(call),
        mode=call.definition.mode,
        edges=tuple(dict.fromkeys(Edge(name_of(needed), role) for needed, role in needs)),
        max_attempts=retry.max_attempts if retry is not None else 1,
        timeout=call.policies.timeout,
        cached=call.policies.cache is not None,
    )


def _kind(call: Call) -> Literal["task", "map", "route", "input", "structure"]:
    if isinstance(call, MapCall):
        return "map"
    if isinstance(call, RouteCall):
        return "route"
    if isinstance(call, InputCall):
        return "input"
    return "structure" if call.definition.structural else "task"
