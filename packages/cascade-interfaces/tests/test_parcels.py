"""A call's way to another process and back, here without another process."""

import functools
import pickle
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from cascade.interfaces import TaskCallError, TaskNotPicklableError
from cascade.interfaces.parcels import RemoteTraceback, carry_out, open_answer, pack_call
from cascade.spec import task

MODULE = """
from cascade.spec import task

@task
def double(x): return 2 * x

class Tools:
    @staticmethod
    @task
    def halve(x): return x / 2

def replaced(): return "old"
first_of_two = replaced
def replaced(): return "new"

class Local: ...
"""


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module that can be imported by its name."""
    made = ModuleType("parcel_tasks")
    exec(MODULE, made.__dict__)
    monkeypatch.setitem(sys.modules, "parcel_tasks", made)
    return made


def there_and_back(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Do what an executor does with a call."""
    return open_answer(carry_out(pack_call(function, args, kwargs)), "the task")


def test_a_task_travels_as_its_name(module: Any) -> None:
    """Of a module, of a class in it, and inside another callable; none of its code is sent."""
    assert there_and_back(module.double.function, 4) == 8
    assert there_and_back(module.Tools.halve.function, x=4) == 2.0
    assert there_and_back(functools.partial(module.double.function, 5)) == 10
    assert there_and_back(sorted, [2, -3], key=module.double.function) == [-3, 2]
    assert b"parcel_tasks" in pack_call(module.double.function, (), {})


def test_a_name_that_means_something_else_is_refused(module: Any) -> None:
    """Another function has taken it: the wrong one would run there."""
    with pytest.raises(TaskNotPicklableError, match=r"is not what parcel_tasks\.replaced names"):
        pack_call(module.first_of_two, (), {})
    assert there_and_back(module.replaced) == "new"


def test_a_class_of_the_script_is_refused_here_and_not_there(module: Any) -> None:
    """A worker would find another `__main__`; the argument is named."""
    module.Local.__module__ = "__main__"
    with pytest.raises(TaskNotPicklableError, match=r"argument 'x' is of Local, a class of the program"):
        pack_call(module.double.function, (module.Local(),), {})


def test_what_cannot_be_found_there_is_told(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that only the sender has."""
    parcel = pack_call(module.double.function, (1,), {})
    monkeypatch.delitem(sys.modules, "parcel_tasks")
    with pytest.raises(TaskNotPicklableError, match=r"task 'double'.*No module named 'parcel_tasks'"):
        open_answer(carry_out(parcel), "double")


def test_what_cannot_be_read_here_is_told() -> None:
    """An answer that is damaged is a result that cannot be read."""
    with pytest.raises(TaskNotPicklableError, match="its result cannot be read here"):
        open_answer(pickle.dumps([1])[:-3], "double")


def call_wrongly() -> None:
    """Make an error of Cascade's own, whose arguments are not its message."""
    task(name="inner")(len)(1, 2, 3)


def test_errors_of_cascade_itself_come_back_whole(module: Any) -> None:
    """Their attributes too, and where they were raised."""
    module.call_wrongly = call_wrongly
    call_wrongly.__module__ = "parcel_tasks"
    with pytest.raises(TaskCallError, match="task 'inner'") as raised:
        there_and_back(call_wrongly)
    assert raised.value.task_name == "inner"
    assert isinstance(raised.value.__cause__, RemoteTraceback)
    assert "in call_wrongly" in raised.value.__cause__.text
