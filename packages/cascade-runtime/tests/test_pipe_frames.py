"""Frames in the pipes between an executor and its worker processes."""

import os
import sys
from multiprocessing import Pipe

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.runtime.executors._pipe_frames import RESULT, FrameReader, framed, write_at_once


@given(st.lists(st.binary(max_size=100), max_size=8), st.integers(1, 40))
def test_frames_arrive_whole_however_the_pipe_splits_them(bodies: list[bytes], size: int) -> None:
    """Each read gets an arbitrary part of the stream."""
    readable, writable = Pipe(duplex=False)
    stream = b"".join(part for n, body in enumerate(bodies) for part in framed(RESULT, n, body))
    reader, found = FrameReader(readable), []
    with readable, writable:
        for start in range(0, len(stream), size):
            os.write(writable.fileno(), stream[start : start + size])
            found += reader.read()
    assert [(frame.kind, frame.number, bytes(frame.body)) for frame in found] == [
        (RESULT, n, body) for n, body in enumerate(bodies)
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="its pipes take every frame")
def test_a_frame_that_may_be_dropped_waits_for_no_reader() -> None:
    """A full pipe takes nothing of it; what is read later are the frames that were written, whole."""
    readable, writable = Pipe(duplex=False)
    os.set_blocking(writable.fileno(), False)
    reader, written, found = FrameReader(readable), 0, list[int]()
    with readable, writable:
        while write_at_once(writable, framed(RESULT, written, b"x" * 1_000)):
            written += 1
        while len(found) < written:
            found += [frame.number for frame in reader.read()]
    assert found == list(range(written))
