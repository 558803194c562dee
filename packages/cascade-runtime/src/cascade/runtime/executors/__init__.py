"""Where synchronous tasks run."""

from cascade.runtime.executors.process import ProcessExecutor
from cascade.runtime.executors.thread import ThreadExecutor

__all__ = ["ProcessExecutor", "ThreadExecutor"]
