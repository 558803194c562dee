"""Calls that ask a worker's session for permission to start; here without another process."""

import os
import pickle
import uuid
from collections.abc import Iterator

import pytest

from cascade.interfaces.numbered_calls import (
    Fate,
    close_session,
    open_session,
    run_numbered,
    withdraw_calls,
)
from cascade.interfaces.pickled_calls import open_answer, pack, pack_call


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
