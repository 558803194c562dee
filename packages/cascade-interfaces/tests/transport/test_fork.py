"""A forked child closes its copy of a socket, and nothing else."""

from __future__ import annotations

import os
import socket
from types import SimpleNamespace

import pytest

from cascade.transport.event_loop import close_copy


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_copy_of_a_socket_is_closed_and_the_other_stays_open(wrapped: bool) -> None:
    """Also one that asyncio hides; a second time does nothing."""
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.socket(fileno=os.dup(ours.fileno())) as copy:
        number = copy.fileno()
        thing = SimpleNamespace(_sock=copy) if wrapped else copy
        for _ in range(2):
            close_copy(thing)
        assert copy.fileno() == -1
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(number)
        ours.sendall(b"up")
        assert theirs.recv(10) == b"up"


def test_what_is_not_a_socket_is_left_alone() -> None:
    """Such as a client that has none yet."""
    for thing in (None, object(), SimpleNamespace(_sock=None)):
        close_copy(thing)
