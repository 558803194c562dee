"""Where synchronous tasks run."""

from cascade.runtime.executors.thread import ThreadExecutor

__all__ = ["ThreadExecutor"]
