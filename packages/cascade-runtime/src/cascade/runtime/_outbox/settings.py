"""The settings of an outbox, checked."""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from cascade.interfaces import ConfigurationError, SupportsStatistics, supports

Order = Literal["oldest", "live-first"]

WINDOW = 400
"""Messages that a connector sends at the same time, if it does not say how many."""


@dataclass(frozen=True, slots=True)
class OutboxSettings:
    """What :class:`cascade.runtime.Outbox` was given; ``max_age`` in seconds."""

    folder: Path
    max_bytes: int
    max_age: float
    power_safe: bool
    delay: float
    order: Order
    ack: str | None


def checked(
    folder: str | os.PathLike[str],
    *,
    max_bytes: int,
    max_age: dt.timedelta,
    power_safe: bool,
    delay: float,
    order: Order,
    ack: str | None,
) -> OutboxSettings:
    """Return the settings.

    :raises ConfigurationError: if one cannot work.
    """
    if not isinstance(folder, str | os.PathLike) or not os.fspath(folder):
        raise ConfigurationError("Outbox(folder)", "needs a folder, such as 'events'", value=folder)
    if isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes < 1 << 16:
        raise ConfigurationError("Outbox(max_bytes=)", "needs a number of bytes from 65536", value=max_bytes)
    if not isinstance(max_age, dt.timedelta) or max_age <= dt.timedelta(0):
        raise ConfigurationError("Outbox(max_age=)", "needs a timedelta above 0", value=max_age)
    if isinstance(delay, bool) or not isinstance(delay, int | float) or not 0 <= delay <= 60:
        raise ConfigurationError("Outbox(delay=)", "needs seconds from 0 to 60", value=delay)
    if order not in get_args(Order):
        raise ConfigurationError("Outbox(order=)", "needs 'oldest' or 'live-first'", value=order)
    if ack is not None and (not isinstance(ack, str) or not ack):
        raise ConfigurationError(
            "Outbox(ack=)", "needs the name of the collector, such as 'collector-1'", value=ack
        )
    # Absolute: a later change of the working directory must not lead to another folder.
    return OutboxSettings(
        Path(folder).absolute(),
        max_bytes,
        max_age.total_seconds(),
        bool(power_safe),
        float(delay),
        order,
        ack,
    )


def window_of(connector: object) -> int:
    """Return how many messages a connector sends at the same time."""
    window = connector.statistics().window_limit if supports(connector, SupportsStatistics) else 0
    return window or WINDOW
