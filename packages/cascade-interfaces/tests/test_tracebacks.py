"""Tracebacks begin in the user's code."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from cascade.interfaces import CascadeError
from cascade.interfaces.pickled_calls import RemoteTraceback
from cascade.interfaces.tracebacks import begin_in_user_code, own_frames


def inside(name: str, body: str = "return function()") -> Callable[[Callable[[], object]], object]:
    """Return a function of a module of this name that calls another one."""
    made: dict[str, Any] = {"__name__": name}
    exec(f"def call(function):\n    {body}", made)
    found: Callable[[Callable[[], object]], object] = made["call"]
    return found


def frames(error: BaseException) -> list[str]:
    return [frame.f_globals["__name__"] for frame, _ in traceback.walk_tb(error.__traceback__)]


def caught(error: BaseException, *modules: str) -> BaseException:
    """Return the error, raised by the innermost of functions of these modules."""

    def fail() -> None:
        raise error

    call: Callable[[], object] = fail
    *outer, last = modules
    call = lambda: inside(last, "raise function")(error)  # type: ignore[arg-type]  # noqa: E731
    for name in reversed(outer):
        call = lambda name=name, call=call: inside(name)(call)  # type: ignore[misc]  # noqa: E731
    try:
        call()
    except BaseException as exc:
        # The frames of this file stand between those of the modules; only the latter count here.
        exc.__traceback__ = _without_this_file(exc.__traceback__)
        return exc
    raise AssertionError


def _without_this_file(tb: Any) -> Any:
    if tb is None:
        return None
    rest = _without_this_file(tb.tb_next)
    if tb.tb_frame.f_globals["__name__"] == __name__:
        return rest
    return type(tb)(rest, tb.tb_frame, tb.tb_lasti, tb.tb_lineno)


@pytest.mark.parametrize(
    ("modules", "kept"),
    [
        (["cascade.runtime.engine", "app", "cascade.spec.lazy"], ["app", "cascade.spec.lazy"]),
        (["asyncio.runners", "cascade", "app.etl"], ["app.etl"]),
        (["concurrent.futures.thread", "asyncio", "cascades"], ["cascades"]),
        (["app", "asyncio.tasks"], ["app", "asyncio.tasks"]),
        (["concurrent.futures", "concurrent.other"], ["concurrent.other"]),
    ],
)
@pytest.mark.parametrize("kind", [ValueError, CascadeError])
def test_a_traceback_begins_with_the_first_line_of_the_user(
    modules: list[str], kept: list[str], kind: type[Exception]
) -> None:
    """Frames of Cascade and asyncio behind it stay: they show what the user's line has called."""
    error = kind("no")
    shown = begin_in_user_code(caught(error, *modules))
    assert shown is error
    assert frames(shown) == kept


@pytest.mark.parametrize(
    ("error", "stays"),
    [
        (CascadeError("no"), False),
        (asyncio.CancelledError(), False),
        (KeyboardInterrupt(), False),
        (ExceptionGroup("two", [ValueError()]), False),
        (ValueError("no"), True),
        (SystemExit(3), True),
    ],
)
def test_a_traceback_without_a_line_of_the_user_stays_where_it_may_show_a_fault_of_cascade(
    error: BaseException, stays: bool
) -> None:
    """An error whose message says all loses it."""
    modules = ["asyncio.runners", "cascade.runtime.engine"]
    assert frames(begin_in_user_code(caught(error, *modules))) == (modules if stays else [])


def test_an_error_from_another_process_has_its_traceback_there() -> None:
    """As its cause; the lines here say nothing. With another cause the lines stay."""
    error = caught(ValueError("no"), "cascade.runtime.engine")
    error.__cause__ = OSError("other")
    assert frames(begin_in_user_code(error)) == ["cascade.runtime.engine"]
    error.__cause__ = RemoteTraceback("in app")
    assert frames(begin_in_user_code(error)) == []


def test_the_cause_of_an_error_of_cascade_is_cut_too() -> None:
    """And its cause, as long as they are errors of Cascade; the cause of any other error is the user's."""
    for error, kept in ((CascadeError("no"), ["app"]), (ValueError("no"), ["cascade.x", "app"])):
        error.__cause__ = caught(OSError("refused"), "cascade.x", "app")
        begin_in_user_code(error)
        assert frames(error.__cause__) == kept


def test_an_error_whose_class_defines_with_traceback_is_cut_as_well() -> None:
    """A class of a user may do something else there."""

    class Odd(ValueError):
        def with_traceback(self, tb: object) -> Any:
            raise RuntimeError("not here")

    assert frames(begin_in_user_code(caught(Odd(), "cascade.x", "app"))) == ["app"]


def test_the_users_own_lines_are_those_of_his_files() -> None:
    """Not those of Cascade or of Python's modules; of another process they come from the text of its traceback."""
    try:
        json.loads("{")
    except ValueError as error:
        found = own_frames(error)
    assert [(frame.function, frame.code) for frame in found] == [
        ("test_the_users_own_lines_are_those_of_his_files", 'json.loads("{")')
    ]
    remote = ValueError("no")
    remote.__cause__ = RemoteTraceback(
        'Traceback (most recent call last):\n  File "/srv/job.py", line 7, in measure\n    read(4)\n    ~~~~^^^\n'
        f'  File "{json.__file__}", line 1, in load\n  File "/srv/gone.py", line 9, in read\nValueError: no\n'
    )
    assert [str(frame) for frame in own_frames(remote)] == [
        '  File "/srv/job.py", line 7, in measure\n    read(4)',
        '  File "/srv/gone.py", line 9, in read',
    ]
