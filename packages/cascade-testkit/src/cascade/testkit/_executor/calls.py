"""Functions that the suite has executors run: every worker can import them, and files are how they meet."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

from cascade.interfaces.call_context import InCall, in_call, step_in_worker
from cascade.testkit.waiting import Deadline

_TIMEOUT = 120.0  # seconds; no call outlives a suite that has failed


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


class Stranger:
    """What can be pickled, and read only in the process that made it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _meet_again, (os.getpid(),)


def _meet_again(process: int) -> Stranger:
    if process != os.getpid():
        raise LookupError("another process made it")
    return Stranger()


def stranger() -> Stranger:
    """Return what the caller cannot read."""
    return Stranger()


def process_id() -> int:
    """Return the process that it runs in."""
    return os.getpid()


def note(file: str, what: object) -> int:
    """Append a line to a file; return the process that did it."""
    with Path(file).open("a") as lines:
        lines.write(f"{what}\n")
    return os.getpid()


def keep_the_gil(folder: str) -> None:
    """Wait for a byte in a pipe, in native code: no other thread of the process can run meanwhile."""
    gate = os.open(Path(folder) / "gate", os.O_RDWR)
    (Path(folder) / "started").touch()
    ctypes.PyDLL(None).read(gate, ctypes.create_string_buffer(1), 1)


def meet(folder: str, name: str, count: int) -> bool:
    """Wait until ``count`` calls are in the same folder at the same time; return whether they were."""
    (Path(folder) / name).touch()
    return _wait(lambda: len(list(Path(folder).iterdir())) >= count, _TIMEOUT / 3)


def hold(folder: str) -> str:
    """Write ``started``, wait for a file ``release``, write ``ended`` and return."""
    place = Path(folder)
    (place / "started").touch()
    _wait((place / "release").exists, _TIMEOUT)
    (place / "ended").touch()
    return "released"


def release_all(folder: Path) -> None:
    """Release every call that waits in a folder or below it."""
    for place in (folder, *(each for each in folder.rglob("*") if each.is_dir())):
        (place / "release").touch()
        (place / "end").touch()


def tidy(folder: str) -> None:
    """Do the same as ``hold``, and write ``tidied`` however it ends."""
    try:
        hold(folder)
    finally:
        (Path(folder) / "tidied").touch()


def refuse(folder: str) -> None:
    """Do the same as ``hold``, and ignore every request to stop."""
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


def die_once_more(folder: str) -> NoReturn:
    """Add a line to ``deaths`` and kill its own process."""
    with (Path(folder) / "deaths").open("a") as file:
        file.write("died\n")
    die()


def die() -> NoReturn:
    """Kill its own process."""
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
    raise AssertionError("killed, and still here")


def _wait(condition: Any, seconds: float) -> bool:
    deadline = Deadline(seconds)
    while not condition():
        if deadline.passed():
            return False
        time.sleep(0.005)
    return True


def tell_step() -> tuple[str, str, str, int, int]:
    """Return the step that this call got."""
    step = step_in_worker.get()
    assert step is not None
    return step.run_id, step.key, step.name, step.attempt, step.start


def report(done: float, name: str, data: Any) -> None:
    """Report progress and publish a value."""
    call = _in_call()
    call.checkpoint((done, 10.0, "going on", "steps"))
    call.publish(name, data)


def go_on(folder: str) -> int:
    """Go from checkpoint to checkpoint until a file ``end`` exists, with the number of them in ``passed``."""
    call, passed = _in_call(), 0
    deadline = Deadline(_TIMEOUT)
    while not (Path(folder) / "end").exists() and not deadline.passed():
        call.checkpoint(None)
        passed += 1
        (Path(folder) / "passed").write_text(str(passed))
        time.sleep(0.001)
    return passed


def tidy_at_checkpoint(folder: str) -> int:
    """Do the same as ``go_on``, and write ``tidied`` however it ends."""
    try:
        return go_on(folder)
    finally:
        (Path(folder) / "tidied").touch()


def note_cancel(folder: str) -> int:
    """Do the same as ``go_on``, and write ``cancelled`` if a checkpoint raises."""
    try:
        return go_on(folder)
    except asyncio.CancelledError:
        (Path(folder) / "cancelled").touch()
        raise


def _in_call() -> InCall:
    call = in_call.get()
    assert call is not None
    return call
