"""Executors for synchronous tasks: :class:`ThreadExecutor` and :class:`ProcessExecutor`."""

from typing import TYPE_CHECKING, Any

from cascade.runtime.executors._thread import ThreadExecutor

if TYPE_CHECKING:
    from cascade.runtime.executors._process import ProcessExecutor

__all__ = ["ProcessExecutor", "ThreadExecutor"]


def __getattr__(name: str) -> Any:
    """Import :class:`ProcessExecutor` on first use: most programs need no worker process."""
    if name == "ProcessExecutor":
        from cascade.runtime.executors._process import ProcessExecutor

        return ProcessExecutor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the names that are imported on demand, too."""
    return sorted({*globals(), *__all__})
