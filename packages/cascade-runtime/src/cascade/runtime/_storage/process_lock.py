"""A lock on a file, which ends with its process at once, whatever the clock says."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

from cascade.transport.event_loop import inert_in_children

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NO_LOCKS = "needs file locks (flock), which this system does not have; use Linux or macOS, or leave it out"

_PATIENCE = 0.2
"""Seconds for which a lock is tried again that a process holds and has described: it may just be ending."""
_LONGEST_PATIENCE = 5.0
"""Seconds for which a lock is tried again that is held for an instant, unless the holder is not scheduled.

A reader looks at the lock, or a process has taken it and has not described itself yet.
"""
_PAUSE = 0.01


class LockedError(Exception):
    """A live process holds the lock: its ``pid``, its ``host``, and ``since`` when, in seconds since the epoch."""

    def __init__(self, pid: int, host: str, since: float) -> None:
        self.pid = pid
        self.host = host
        self.since = since
        super().__init__(f"held by process {pid} on {host}")


class ProcessLock:
    """A lock on a file, held until :meth:`release` or the end of this process.

    A forked child closes its copy: otherwise the lock would live as long as the child.
    """

    def __init__(self, handle: int) -> None:
        self._handle: int | None = handle
        inert_in_children(self)

    def describe(self, *, since: float) -> None:
        """Write who holds the lock into the file, for the message to others."""
        if self._handle is not None:
            text = json.dumps({"pid": os.getpid(), "host": platform.node(), "since": since}).encode()
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, text, 0)

    def release(self) -> None:
        """Let other processes have the file. Idempotent."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def become_inert(self) -> None:
        """Close the copy of a forked child; the parent's lock stays."""
        self.release()


def available() -> bool:
    """Return whether this system has such locks."""
    return fcntl is not None


def take(path: Path, *, since: float | None = None) -> ProcessLock:
    """Lock the file, which is created if it is missing; blocks while another process looks at it, and up to 5 s.

    :param since: the time that a refusal names as the begin of the lock, in seconds since the epoch; default: now.
    :raises LockedError: if a live process holds it.
    :raises OSError: if the file cannot be opened, or the system does not have this kind of lock.
    """
    if not available():
        raise OSError(NO_LOCKS)
    began = time.monotonic()
    while (handle := _locked(path)) is None:
        patience = _PATIENCE if is_held(path) and _description(path) else _LONGEST_PATIENCE
        if time.monotonic() - began > patience:
            raise _held(path)
        time.sleep(_PAUSE)
    lock = ProcessLock(handle)
    try:
        lock.describe(since=time.time() if since is None else since)
    except BaseException:
        lock.release()
        raise
    return lock


def is_held(path: Path) -> bool:
    """Return whether a live process holds the lock on a file."""
    if not path.exists() or not available():
        return False
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:  # it was deleted in this moment
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _locked(path: Path) -> int | None:
    """Return a locked handle of the file that has this name now; None if it is held."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    with contextlib.suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Another process may have deleted the file, with what it locks, between the two calls.
        if os.path.samestat(os.fstat(handle), path.stat()):
            return handle
    os.close(handle)
    return None


def _description(path: Path) -> dict[str, Any]:
    """Read who holds the lock; empty if that is not written yet."""
    holder: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        holder = json.loads(path.read_bytes())
    return holder


def _held(path: Path) -> LockedError:
    holder = _description(path)
    return LockedError(
        int(holder.get("pid", 0)),
        str(holder.get("host", "an unknown host")),
        float(holder.get("since", time.time())),
    )
