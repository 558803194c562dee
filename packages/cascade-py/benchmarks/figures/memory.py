"""The peak memory of this process."""

from __future__ import annotations

import sys
from pathlib import Path

_KIBIBYTE = 1024


def peak_memory() -> int:
    """Return the peak of the resident memory in bytes.

    Linux is asked in /proc: its ``getrusage`` counts the parent's memory before the exec, too.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * _KIBIBYTE
    import resource  # not on Windows, where there is no such figure without another library

    unit = 1 if sys.platform == "darwin" else _KIBIBYTE
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
