"""Functions that the suite has executors run: every worker can import them, and files are how they meet."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

_PATIENCE = 30.0  # seconds; no call outlives a suite that has failed


class Unfriendly(Exception):
    """An error whose ``__init__`` does not take its own ``args``."""

    def __init__(self, code: int, *, reason: str) -> None:
        self.code = code
        super().__init__(f"{reason} ({code})")


class Tangled(Exception):
    """An error that cannot be pickled."""

    def __init__(self, message: str) -> None:
        self.lock = threading.Lock()
        super().__init__(message)


def echo(value: Any) -> Any:
    """Return what is given."""
    return value


def describe(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return how it was called."""
    return args, kwargs


def fail(error: type[Exception], message: str) -> NoReturn:
    """Raise an error."""
    raise error(message)


def echo_error(error: Exception) -> NoReturn:
    """Raise the error that is given."""
    raise error


def fail_tangled(message: str) -> NoReturn:
    """Raise an error that cannot be pickled."""
    raise Tangled(message)


def fail_unfriendly(code: int) -> NoReturn:
    """Raise an error that a naive executor cannot build again."""
    raise Unfriendly(code, reason="unfriendly")


def make(length: int) -> bytes:
    """Return so many bytes."""
    return b"x" * length


def lock() -> object:
    """Return what cannot be pickled."""
    return threading.Lock()


def process_id() -> int:
    """Return the process that it runs in."""
    return os.getpid()


def meet(folder: str, name: str, count: int) -> bool:
    """Wait until ``count`` calls are in the same folder at the same time; return whether they were."""
    (Path(folder) / name).touch()
    return _wait(lambda: len(list(Path(folder).iterdir())) >= count, _PATIENCE / 3)


def hold(folder: str) -> str:
    """Write ``begun``, wait for a file ``release``, write ``ended`` and return."""
    place = Path(folder)
    (place / "begun").touch()
    _wait((place / "release").exists, _PATIENCE)
    (place / "ended").touch()
    return "held"


def tidy(folder: str) -> None:
    """Do what ``hold`` does, and write ``tidied`` whatever ends it."""
    try:
        hold(folder)
    finally:
        (Path(folder) / "tidied").touch()


def refuse(folder: str) -> None:
    """Do what ``hold`` does, whatever is asked."""
    while not (Path(folder) / "ended").exists():
        with contextlib.suppress(BaseException):
            hold(folder)


def die_at_first(folder: str) -> str:
    """Kill its own process unless a call has done so in this folder before."""
    mark = Path(folder) / "died"
    if not mark.exists():
        mark.touch()
        die()
    return "survived"


def die() -> NoReturn:
    """Kill its own process."""
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
    raise AssertionError("killed, and still here")


def _wait(condition: Any, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.005)
    return bool(condition())
