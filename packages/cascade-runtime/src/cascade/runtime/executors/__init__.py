"""Executors for synchronous tasks: over threads, over processes, and over a pool of the program."""

from typing import TYPE_CHECKING, Any

from cascade.runtime.executors._thread import ThreadExecutor

if TYPE_CHECKING:
    from cascade.runtime.executors._futures import FuturesExecutor
    from cascade.runtime.executors._process import ProcessExecutor

__all__ = ["FuturesExecutor", "ProcessExecutor", "ThreadExecutor"]


def __getattr__(name: str) -> Any:
    """Import the others on first use: most programs need neither worker processes nor a pool."""
    if name == "ProcessExecutor":
        from cascade.runtime.executors._process import ProcessExecutor

        return ProcessExecutor
    if name == "FuturesExecutor":
        from cascade.runtime.executors._futures import FuturesExecutor

        return FuturesExecutor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the names that are imported on demand, too."""
    return sorted({*globals(), *__all__})
