"""Frames and permits: the pipes between an executor and its worker processes."""

import os
import threading
from multiprocessing import Pipe

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.runtime.executors._frames import CALL, RESULT, START, FrameReader, framed, write
from cascade.runtime.executors._permits import PermitReader, Permits
from cascade.runtime.executors._worker_main import _permitted
from cascade.testkit import eventually


@given(st.lists(st.binary(max_size=100), max_size=8), st.integers(1, 40))
def test_frames_arrive_whole_however_the_pipe_splits_them(bodies: list[bytes], size: int) -> None:
    """Each read gets an arbitrary part of the stream."""
    readable, writable = Pipe(duplex=False)
    stream = b"".join(
        part for n, body in enumerate(bodies) for part in framed(RESULT, n, body, seconds=n / 2)
    )
    reader, found = FrameReader(readable), []
    with readable, writable:
        for start in range(0, len(stream), size):
            os.write(writable.fileno(), stream[start : start + size])
            found += reader.read()
    assert [(frame.kind, frame.number, frame.seconds, bytes(frame.body)) for frame in found] == [
        (RESULT, n, n / 2, body) for n, body in enumerate(bodies)
    ]


def test_a_frame_that_no_pipe_can_hold_arrives_whole() -> None:
    """The writer continues while the reader reads."""
    readable, writable = Pipe(duplex=False)
    body = os.urandom(1_000_000)
    writing = threading.Thread(target=lambda: write(writable, framed(CALL, 7, body)))
    writing.start()
    reader = FrameReader(readable)
    with readable, writable:
        while not (frames := reader.read()):
            pass
        writing.join()
    assert bytes(frames[0].body) == body


def test_a_permit_has_one_reader() -> None:
    """What the executor has taken back, the worker does not get, and the other way round."""
    permits = Permits()
    worker = PermitReader(permits.readable)
    assert worker.take() == 0
    permits.give([1, 2, 3])
    assert worker.take() == 1
    assert permits.take_back() == [2, 3]
    assert permits.take_back() == []
    assert worker.take() == 0
    permits.give([3])
    assert worker.take() == 3
    permits.end()
    assert worker.take() is None
    permits.close()
    permits.close()


class Executor:
    """The executor's ends of the pipes; the worker's are in ``calls``."""

    def __init__(self) -> None:
        readable, self.requests = Pipe(duplex=False)
        self.permits = Permits()
        self.calls = _permitted(readable, self.permits.readable)

    def send(self, kind: bytes, *numbers: int) -> None:
        for number in numbers:
            write(self.requests, framed(kind, number))

    def next(self) -> int:
        return next(self.calls).number

    def close(self) -> None:
        self.permits.close()
        self.requests.close()


@pytest.fixture
def executor() -> Executor:
    return Executor()


def test_a_call_behind_another_one_starts_with_its_permit(executor: Executor) -> None:
    """The first one needs none, and keeps its place even if the permits arrive earlier than it is read."""
    executor.send(START, 1)
    executor.send(CALL, 2, 3)
    executor.permits.give([2, 3])
    assert [executor.next() for _ in range(3)] == [1, 2, 3]
    executor.close()


def test_a_call_that_was_taken_back_is_passed_over(executor: Executor) -> None:
    """Whether one behind it has a permit, or a new one starts at the idle worker."""
    executor.send(START, 1)
    executor.send(CALL, 2, 3)
    executor.permits.give([2, 3])
    assert executor.next() == 1
    assert executor.permits.take_back() == [2, 3]
    executor.permits.give([3])
    assert executor.next() == 3
    executor.send(CALL, 4)
    executor.send(START, 5)
    assert executor.next() == 5
    executor.close()


def test_no_permit_is_taken_while_a_call_that_needs_none_waits(executor: Executor) -> None:
    """Otherwise a call that can be withdrawn would count as started behind one that runs for hours."""
    for number in range(1, 40, 2):
        executor.send(START, number)
        executor.send(CALL, number + 1)
        executor.permits.give([number + 1])
        assert executor.next() == number
        assert executor.permits.take_back() == [number + 1]
    executor.close()


async def test_calls_end_with_their_pipes(executor: Executor) -> None:
    """A worker without a call ends when the executor is gone."""
    ended: list[object] = []
    reading = threading.Thread(target=lambda: ended.extend(executor.calls))
    reading.start()
    executor.requests.close()
    executor.permits.end()
    await eventually(lambda: not reading.is_alive())
    assert ended == []
    executor.permits.close()
