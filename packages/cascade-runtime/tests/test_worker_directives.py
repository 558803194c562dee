"""What a worker process hears about its calls, and what it says about them; the pipes are real, the process is this one."""

import asyncio
import pickle
import signal
import threading
from collections.abc import Iterator
from multiprocessing import Pipe
from typing import Any

import pytest

from cascade.interfaces import Directive
from cascade.interfaces.call_context import RunningCall
from cascade.runtime.executors import _worker_call
from cascade.runtime.executors._pipe_frames import (
    DATA,
    DIRECTIVES,
    PAUSED,
    PROGRESS,
    RESUMED,
    STOP,
    Frame,
    FrameReader,
    framed,
    write,
)
from cascade.runtime.executors._worker_call import Answers, Directives
from cascade.testkit import eventually


class Link:
    """Both ends of the pipes of a worker."""

    def __init__(self) -> None:
        down, self.control = Pipe(duplex=False)
        up, end = Pipe(duplex=False)
        self.answers = Answers(end)
        self.directives = Directives(down, self.answers)
        self.reader = FrameReader(up)
        self.following = threading.Thread(target=self.directives.follow)
        self.following.start()
        self._ends = (down, up, end)

    def say(self, kind: bytes, number: int) -> None:
        write(self.control, framed(kind, number))

    def said(self) -> list[tuple[bytes, int, Any]]:
        return [(f.kind, f.number, pickle.loads(f.body) if f.body else None) for f in self.reader.read()]

    def close(self) -> None:
        self.control.close()
        self.following.join()
        for end in self._ends:
            end.close()


@pytest.fixture
def link() -> Iterator[Link]:
    made = Link()
    yield made
    made.close()


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the signals that the worker sends itself."""
    signals: list[int] = []
    monkeypatch.setattr("os.kill", lambda _, number: signals.append(number))
    return signals


def is_directed(call: RunningCall, directive: Directive) -> bool:
    return call._directive is directive


async def test_a_directive_waits_for_its_call_and_reaches_the_one_that_runs(link: Link) -> None:
    """The latest one counts; one for a call that has ended changes no other."""
    first = link.directives.begin(1)
    assert is_directed(first, Directive.RUN)
    link.say(DIRECTIVES[Directive.PAUSE], 1)
    await eventually(lambda: is_directed(first, Directive.PAUSE))
    assert link.directives.end() is False
    for kind in (Directive.PAUSE, Directive.RUN, Directive.PAUSE):
        link.say(DIRECTIVES[kind], 2)
    await eventually(lambda: link.directives._early == (2, Directive.PAUSE))
    second = link.directives.begin(2)
    assert is_directed(second, Directive.PAUSE)
    link.say(DIRECTIVES[Directive.CANCEL], 1)
    link.say(DIRECTIVES[Directive.RUN], 2)
    await eventually(lambda: is_directed(second, Directive.RUN))
    link.directives.end()
    link.say(DIRECTIVES[Directive.CANCEL], 2)
    assert is_directed(link.directives.begin(3), Directive.RUN)


async def test_a_call_that_is_to_stop_does_not_begin(link: Link, killed: list[int]) -> None:
    """Nor is anything sent about it; a call before it is not concerned."""
    call = link.directives.begin(1)
    call.checkpoint(None)
    link.say(STOP, 2)
    link.say(DIRECTIVES[Directive.PAUSE], 1)
    await eventually(lambda: is_directed(call, Directive.PAUSE))
    assert link.directives.end() is False
    with pytest.raises(SystemExit) as raised:
        link.directives.begin(2)
    assert raised.value.code == 128 + signal.SIGTERM
    assert killed == []


async def test_a_call_that_visits_checkpoints_is_cancelled_there(
    link: Link, killed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has time for that; a signal is sent only to one that has none."""
    monkeypatch.setattr(_worker_call, "GRACE", 600.0)
    call = link.directives.begin(1)
    call.checkpoint(None)
    link.say(STOP, 1)
    await eventually(lambda: is_directed(call, Directive.CANCEL))
    with pytest.raises(asyncio.CancelledError):
        call.checkpoint(None)
    assert link.directives.end() is True
    link.control.close()
    await eventually(lambda: not link.following.is_alive())
    assert killed == []


@pytest.mark.parametrize("visited", [False, True])
async def test_a_call_that_reaches_no_checkpoint_is_stopped_by_a_signal(
    visited: bool, link: Link, killed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once if it has reached none so far, else after a grace period."""
    monkeypatch.setattr(_worker_call, "GRACE", 0.01 if visited else 600.0)
    call = link.directives.begin(1)
    if visited:
        call.checkpoint(None)
    link.say(STOP, 1)
    await eventually(lambda: killed)
    assert killed == [signal.SIGTERM]
    later = link.directives.begin(2)
    link.say(DIRECTIVES[Directive.PAUSE], 2)
    await eventually(lambda: is_directed(later, Directive.PAUSE))  # it goes on to listen
    assert killed == [signal.SIGTERM]


async def test_what_a_call_says_arrives_with_its_number(link: Link) -> None:
    """Progress, values, and that it waits and goes on at a checkpoint."""
    call = link.directives.begin(4)
    call.checkpoint((1.0, 2.0, "half", "rows"))
    assert link.said() == [(PROGRESS, 4, (1.0, 2.0, "half", "rows"))]
    call.publish("table", {"n": 1})
    assert link.said() == [(DATA, 4, ("table", {"n": 1}))]
    link.say(DIRECTIVES[Directive.PAUSE], 4)
    await eventually(lambda: is_directed(call, Directive.PAUSE))
    waiting = asyncio.create_task(asyncio.to_thread(call.checkpoint, None))
    assert await asyncio.to_thread(link.said) == [(PAUSED, 4, None)]
    link.say(DIRECTIVES[Directive.RUN], 4)
    assert await asyncio.to_thread(link.said) == [(RESUMED, 4, None)]
    await waiting


def test_progress_is_dropped_rather_than_that_a_task_waits(link: Link) -> None:
    """When the pipe is full, or the text is too long for one write; a value waits for room instead."""
    link.answers.offer(PROGRESS, 1, b"x" * 10_000)
    body = b"y" * 4_000
    for _ in range(100):  # many more than the pipe holds
        link.answers.offer(PROGRESS, 1, body)
    sending = threading.Thread(target=link.answers.send, args=(DATA, 2, b"value"))
    sending.start()
    frames: list[Frame] = []
    while not frames or frames[-1].kind != DATA:
        frames += link.reader.read()
    sending.join()
    assert {bytes(frame.body) for frame in frames} == {body, b"value"}
    assert 1 < len(frames) < 100
