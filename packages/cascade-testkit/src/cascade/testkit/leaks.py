"""Find what was left behind: tasks, threads, open files and sockets."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cascade.testkit.waiting import eventually

_FOLDERS = (Path("/proc/self/fd"), Path("/dev/fd"))
# threads of the loop's default executor, which the loop ends when it closes
_LOOPS_OWN = "asyncio_"


@dataclass(frozen=True, slots=True)
class Holdings:
    """What this process and its running loop have open at one moment."""

    tasks: frozenset[str]
    threads: frozenset[str]
    files: frozenset[str]

    @classmethod
    def now(cls) -> Self:
        """Look, from inside a running loop."""
        # a fixture ends in another task than it began
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        threads = (thread for thread in threading.enumerate() if not thread.name.startswith(_LOOPS_OWN))
        return cls(
            frozenset(f"{task.get_name()} ({task.get_coro()!r})" for task in tasks),
            frozenset(f"{thread.name} ({thread.ident})" for thread in threads),
            frozenset(_open_files()),
        )

    def beyond(self, earlier: Holdings) -> list[str]:
        """Describe what is open now and was not open then."""
        return [
            *(f"task {name}" for name in sorted(self.tasks - earlier.tasks)),
            *(f"thread {name}" for name in sorted(self.threads - earlier.threads)),
            *(f"file {name}" for name in sorted(self.files - earlier.files)),
        ]


@asynccontextmanager
async def no_leaks(timeout: float = 30.0) -> AsyncIterator[None]:
    """Fail if the body leaves a task, a thread, a socket or an open file behind.

    Threads of the loop's default executor are the loop's own and do not count; open files are
    looked at where the system lists them (not on Windows).

    :raises AssertionError: if something is still open ``timeout`` seconds after the body.
    """
    before = Holdings.now()
    yield
    left = _Difference(before)
    await eventually(left.gone, timeout, what="everything that the body opened is closed")


class _Difference:
    """A condition whose representation lists what is left."""

    def __init__(self, before: Holdings) -> None:
        self._before = before
        self._left: list[str] = []

    def gone(self) -> Self:
        self._left = Holdings.now().beyond(self._before)
        return self

    def __bool__(self) -> bool:
        return not self._left

    def __repr__(self) -> str:
        return "left behind: " + "; ".join(self._left)


def _open_files() -> list[str]:
    folder = next((folder for folder in _FOLDERS if folder.is_dir()), None)
    if folder is None:
        return []
    return [text for link in folder.iterdir() if (text := _target(link))]


def _target(link: Path) -> str:
    """Return what an open file is; empty for the listing's own, which is closed by now."""
    try:
        inode = os.fstat(int(link.name)).st_ino
    except OSError:
        return ""
    try:
        return f"{link.name} -> {link.readlink()}"
    except OSError:  # macOS lists files that are not links
        return f"{link.name} -> inode {inode}"
