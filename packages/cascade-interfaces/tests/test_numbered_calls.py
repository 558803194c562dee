"""Calls that ask a worker's session for permission to start; here without another process."""

import os
import pickle
import struct
import uuid
from collections.abc import Callable, Iterator

import pytest

from cascade.interfaces.call_context import in_call
from cascade.interfaces.numbered_calls import (
    Fate,
    close_session,
    open_session,
    read_answer,
    run_numbered,
    withdraw_calls,
)
from cascade.interfaces.pickled_calls import open_answer, pack, pack_call, run_packed


@pytest.fixture
def session() -> Iterator[str]:
    """An open session."""
    name = uuid.uuid4().hex
    open_session(name)
    yield name
    close_session(name)


def test_a_call_runs_and_its_duration_is_known(session: str) -> None:
    """Its outcome is the one of the bare call."""
    fate, seconds, answer = run_numbered(session, 1, pack_call(os.getpid, (), {}), pack)
    assert (fate, open_answer(answer, "getpid")) == (Fate.DONE.value, os.getpid())
    assert seconds >= 0


def test_a_call_that_was_withdrawn_does_not_start(session: str) -> None:
    """Whether it arrives before or after its withdrawal; the others run."""
    assert withdraw_calls(session, [1, 2]) == []
    packed = pickle.dumps("no call at all")
    assert run_numbered(session, 1, packed, pack) == (Fate.WITHDRAWN.value, 0.0, b"")
    assert run_numbered(session, 3, pack_call(os.getpid, (), {}), pack)[0] == Fate.DONE.value


def test_a_call_that_has_started_is_not_withdrawn(session: str) -> None:
    """Also one that has ended: its answer may be on its way, and it must not run a second time."""
    run_numbered(session, 1, pack_call(os.getpid, (), {}), pack)
    assert withdraw_calls(session, [1, 2]) == [1]


def test_a_process_without_the_session_runs_nothing(session: str) -> None:
    """It has replaced the process that the call was sent to, which may have run it."""
    close_session(session)
    packed = pickle.dumps("no call at all")
    assert run_numbered(session, 1, packed, pack) == (Fate.NO_SESSION.value, 0.0, b"")
    assert withdraw_calls(session, [1]) == []


class Sent:
    """What the calls of a session send, in order."""

    def __init__(self) -> None:
        self.all: list[str | bytes] = []

    def connect(self) -> tuple[Callable[[str | bytes], None], Callable[[], bool]]:
        return self.all.append, lambda: True


def tell(value: object) -> object:
    """Publish something, and return a value."""
    call = in_call.get()
    assert call is not None
    call.publish("row", 1)
    return value


def refuse(message: str) -> None:
    """Raise an error."""
    raise ValueError(message)


SIZE = len(run_packed(pack_call(bytes, (b"x" * 100,), {}), pack))
"""Bytes of a packed answer."""


@pytest.fixture
def sent() -> Sent:
    return Sent()


@pytest.fixture
def reporting(sent: Sent) -> Iterator[str]:
    """A session that sends answers of up to SIZE bytes."""
    name = uuid.uuid4().hex
    open_session(name, sent.connect, None, SIZE)
    yield name
    close_session(name)


def test_a_short_answer_is_sent_along(reporting: str, sent: Sent) -> None:
    """Exactly at the bound too: what is sent is what the call returns."""
    fate, seconds, packed = run_numbered(reporting, 7, pack_call(bytes, (b"x" * 100,), {}), pack)
    (answer,) = sent.all
    assert isinstance(answer, bytes)
    assert read_answer(answer) == (7, seconds, packed)
    assert (fate, len(packed)) == (Fate.DONE.value, SIZE)


def test_an_answer_beyond_the_bound_is_only_returned(reporting: str, sent: Sent) -> None:
    """By one byte."""
    _, _, packed = run_numbered(reporting, 7, pack_call(bytes, (b"x" * 101,), {}), pack)
    assert len(packed) == SIZE + 1
    assert open_answer(packed, "bytes") == b"x" * 101
    assert sent.all == []


def test_an_answer_is_sent_after_all_that_its_call_reports(reporting: str, sent: Sent) -> None:
    """So nothing that a call has said comes after its end."""
    run_numbered(reporting, 7, pack_call(tell, (1,), {}), pack)
    assert [type(each) for each in sent.all] == [str, bytes]


def test_a_short_error_is_sent_along(sent: Sent) -> None:
    """It is raised as it would be from the answer that is returned."""
    name = uuid.uuid4().hex
    open_session(name, sent.connect, None, 100_000)
    run_numbered(name, 7, pack_call(refuse, ("too wet",), {}), pack)
    close_session(name)
    (answer,) = sent.all
    assert isinstance(answer, bytes)
    with pytest.raises(ValueError, match="too wet"):
        open_answer(read_answer(answer).packed, "refuse")


def test_a_session_sends_no_answer_unless_it_was_opened_for_that(sent: Sent) -> None:
    """Executors of an older version do not expect any."""
    name = uuid.uuid4().hex
    open_session(name, sent.connect)
    run_numbered(name, 7, pack_call(os.getpid, (), {}), pack)
    close_session(name)
    assert sent.all == []


def test_a_call_that_does_not_start_sends_no_answer(reporting: str, sent: Sent) -> None:
    """Neither one that was withdrawn, nor one whose session is closed."""
    withdraw_calls(reporting, [1])
    run_numbered(reporting, 1, pack_call(os.getpid, (), {}), pack)
    close_session(reporting)
    run_numbered(reporting, 2, pack_call(os.getpid, (), {}), pack)
    assert sent.all == []


def test_bytes_that_are_no_answer_are_an_error() -> None:
    """Another program may have sent them."""
    with pytest.raises(struct.error):
        read_answer(b"short")
