"""Synchronous tasks on a Dask cluster."""

from cascade.executors.dask.executor import DaskExecutor

__all__ = ["DaskExecutor"]
