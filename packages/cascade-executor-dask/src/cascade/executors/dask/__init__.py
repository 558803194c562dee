"""Synchronous tasks on a Dask cluster."""

from cascade.executors.dask._executor import DaskExecutor

__all__ = ["DaskExecutor"]
