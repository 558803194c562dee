"""Frames: what the executor and its worker processes write into the pipes between them."""

from __future__ import annotations

import os
import select
import struct
import sys
from multiprocessing.connection import Connection
from typing import NamedTuple

from cascade.interfaces import Directive

CALL, READY, RESULT = b"C", b"Y", b"R"
# about a call that runs, from its worker
PROGRESS, PAUSED, RESUMED, DATA = b"P", b"W", b"G", b"D"
STOP = b"s"  # to the worker: the call was given up
# to the worker
DIRECTIVES = {Directive.RUN: b"r", Directive.PAUSE: b"p", Directive.CANCEL: b"c"}

_HEADER = struct.Struct("<cQQ")  # kind, number of the call, bytes of the body
_CHUNK = 1 << 16  # as much as a pipe of Linux holds


class Frame(NamedTuple):
    """One message about one call; the body refers to the bytes that were read, without a copy."""

    kind: bytes
    number: int
    body: memoryview


def framed(kind: bytes, number: int = 0, body: bytes = b"") -> list[bytes]:
    """Return the parts of a frame, for :func:`write`."""
    return [_HEADER.pack(kind, number, len(body)), body]


def write(end: Connection, parts: list[bytes]) -> None:
    """Write frames into a pipe, small ones with one system call.

    :raises OSError: if the other end is closed.
    """
    if sum(map(len, parts)) <= _CHUNK:
        parts = [b"".join(parts)]
    for part in parts:
        if sys.platform == "win32":
            end.send_bytes(part)
        else:
            _write_all(end.fileno(), part)


def _write_all(file: int, part: bytes) -> None:
    rest = memoryview(part)
    while rest:
        try:
            rest = rest[os.write(file, rest) :]
        except BlockingIOError:
            # an end that does not block, and the pipe is full
            select.select((), (file,), ())


def write_at_once(end: Connection, parts: list[bytes]) -> bool:
    """Write frames of at most 4,096 bytes, or nothing if the pipe is full; return whether they were written.

    The end must not block.

    :raises OSError: if the other end is closed.
    """
    if sys.platform == "win32":
        end.send_bytes(b"".join(parts))
        return True
    try:
        os.write(end.fileno(), b"".join(parts))
    except BlockingIOError:
        return False
    return True


class FrameReader:
    """Reads the frames that arrive in one pipe. Only one thread may use it."""

    def __init__(self, end: Connection) -> None:
        self._end = end
        self._buffer = bytearray()

    def read(self) -> list[Frame]:
        """Wait until something arrives; return the frames that are complete, if any.

        :raises EOFError: if the other end is closed.
        """
        self._buffer += self._chunk()
        frames: list[Frame] = []
        view, start = memoryview(self._buffer), 0
        while (end := _end_of_frame(self._buffer, start)) is not None:
            frames.append(_frame(view, start, end))
            start = end
        if frames:
            # the frames keep the old one
            self._buffer = bytearray(view[start:])
        return frames

    def _chunk(self) -> bytes:
        if sys.platform == "win32":
            return self._end.recv_bytes()
        chunk = os.read(self._end.fileno(), _CHUNK)
        if not chunk:
            raise EOFError
        return chunk


def _frame(view: memoryview, start: int, end: int) -> Frame:
    kind, number, _ = _HEADER.unpack_from(view, start)
    return Frame(kind, number, view[start + _HEADER.size : end])


def _end_of_frame(content: bytearray, start: int) -> int | None:
    if len(content) - start < _HEADER.size:
        return None
    end: int = start + _HEADER.size + _HEADER.unpack_from(content, start)[2]
    return end if end <= len(content) else None
