"""Declarations of a graph, and the picture of a lazy result that a notebook shows."""

from __future__ import annotations

from typing import Any

from cascade.spec import (
    CachePolicy,
    Env,
    LazyResult,
    Param,
    Resource,
    Router,
    Task,
    Workflow,
    inject,
    pipeline,
    resource,
    sequence,
    task,
    workflow,
)

__all__ = [
    "CachePolicy",
    "Env",
    "LazyResult",
    "Param",
    "Resource",
    "Router",
    "Task",
    "Workflow",
    "inject",
    "pipeline",
    "resource",
    "sequence",
    "task",
    "workflow",
]

_MERMAID = 500
"""Steps; Mermaid draws no more of them, and SVG shows them by name."""


def _mimebundle(lazy: LazyResult[Any], include: object = None, exclude: object = None) -> dict[str, str]:
    """Return a lazy result as text, and as a picture of its graph."""
    from cascade.runtime import plan
    from cascade.sdk._pictures import DRAWN

    steps = plan([lazy])
    pictures = {"image/svg+xml": DRAWN["svg"](steps)}
    if len(steps) <= _MERMAID:
        pictures["text/vnd.mermaid"] = DRAWN["mermaid"](steps)
    return {"text/plain": repr(lazy), **pictures}


# Here and not in cascade.spec, because only the runtime knows the graph.
LazyResult._repr_mimebundle_ = _mimebundle
