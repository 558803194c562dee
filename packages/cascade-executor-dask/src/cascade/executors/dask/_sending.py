"""Sends calls to a worker through Dask: those of one moment in one graph, as it costs about as much as a call."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import dask

from cascade.executors.dask._placement import Call
from cascade.interfaces.numbered_calls import RUN, run_numbered

LARGE = 1024 * 1024
"""Bytes of packed calls that one graph takes; a larger call goes alone."""


def graphs(calls: Iterable[Call]) -> Iterator[list[Call]]:
    """Return calls in their order, as many in each graph as are not large together."""
    graph: list[Call] = []
    size = 0
    for call in calls:
        if graph and size + len(call.packed) > LARGE:
            yield graph
            graph, size = [], 0
        graph.append(call)
        size += len(call.packed)
    if graph:
        yield graph


def send_graph(
    client: Any, session: str, calls: Sequence[Call], address: str, *, with_orders: bool
) -> list[Any]:
    """Send calls to one worker, which runs them in this order; return their Dask futures.

    A call goes as bytes, so that Dask neither inspects its arguments nor interprets its keywords.
    """
    columns: list[list[Any]] = [
        [session] * len(calls),
        [call.number for call in calls],
        [call.packed for call in calls],
        [cloudpickle.dumps] * len(calls),
    ]
    if with_orders and any(call.order != RUN for call in calls):
        columns.append([call.order for call in calls])
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 PB"}):
        futures: list[Any] = client.map(
            run_numbered,
            *columns,
            key=[f"{call.name}-{uuid.uuid4().hex}" for call in calls],
            pure=False,
            workers=[address],
            fifo_timeout=0,  # otherwise calls of the same 100 ms have no order
        )
    return futures
