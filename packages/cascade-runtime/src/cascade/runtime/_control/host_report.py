"""The body of ``cascade/state/{source}/host``: the computer and the process, without anything that names them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from cascade.interfaces import Connector, SupportsStatistics, supports
from cascade.interfaces.distribution import VERSION
from cascade.interfaces.events import Tag
from cascade.interfaces.wire import timestamp
from cascade.transport.outbox import SUPERSEDED
from cascade.wire.message import to_wire
from cascade.wire.reports import HostReport, Memory
from cascade.wire.series import clean_tags

INTERVAL = 60.0
"""Seconds between two reports."""


def host_report(
    connector: Connector,
    *,
    head: Mapping[str, Any],
    labels: Mapping[str, Tag],
    clean: Callable[[str], str],
    now: float,
) -> dict[str, Any]:
    """Return the body of the report. It has no address, user name, path or command line."""
    report = HostReport(
        **head,
        **_machine(),
        load1=_load(),
        rss=_resident(),
        memory=_memory(),
        link=_link(connector),
        labels=clean_tags(labels, clean),
        ts=timestamp(now),
    )
    return to_wire(report)


@lru_cache(maxsize=1)
def _machine() -> dict[str, Any]:
    import platform  # slow to import, and only engines with a broker need it

    return {
        "os": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "python": platform.python_version(),
        "cascade": VERSION,
        "cpus": os.cpu_count(),
    }


def _load() -> float | None:
    with suppress(OSError, AttributeError):  # not on Windows
        return round(os.getloadavg()[0], 2)
    return None


def _resident() -> int | None:
    """Return the bytes of memory that the process has now, or the most that it had."""
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    with suppress(ImportError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return None


def _memory() -> Memory:
    """Return the bytes of the computer's memory."""
    total = available = None
    with suppress(OSError, ValueError, AttributeError):
        page = os.sysconf("SC_PAGE_SIZE")
        total = os.sysconf("SC_PHYS_PAGES") * page
        available = os.sysconf("SC_AVPHYS_PAGES") * page
    with suppress(OSError, ValueError, IndexError):  # counts what the system would give back, too
        lines = Path("/proc/meminfo").read_text().splitlines()
        kilobytes = next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))
        available = int(kilobytes) * 1024
    return Memory(total=total, available=available)


def _link(connector: Connector) -> dict[str, int]:
    if not supports(connector, SupportsStatistics):
        return {}
    counts = connector.statistics()
    lost = sum(count for why, count in counts.dropped.items() if why != SUPERSEDED)
    names = ("connections", "accepted", "sent", "pending", "sanitized", "received", "delivered", "window")
    found = {name: getattr(counts, name) for name in names}
    return found | {"dropped": lost, "discarded": sum(counts.discarded.values())}
