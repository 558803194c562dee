"""Where synchronous tasks run: :mod:`threads <.thread>` and :mod:`processes <.process>`."""

from cascade.runtime.executors.thread import ThreadExecutor

__all__ = ["ThreadExecutor"]
