"""A call's way to another process and back, here without another process."""

import copyreg
import dataclasses
import functools
import pickle
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from cascade.interfaces import TaskNotPicklableError
from cascade.interfaces.call_context import in_worker
from cascade.interfaces.pickled_calls import RemoteTraceback, open_answer, pack, pack_call, run_packed

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
    made = ModuleType("pickled_tasks")
    exec(MODULE, made.__dict__)
    monkeypatch.setitem(sys.modules, "pickled_tasks", made)
    return made


def ask_where() -> bool:
    return in_worker.get()


def there_and_back(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Do what an executor does with a call."""
    return open_answer(run_packed(pack_call(function, args, kwargs)), "the task")


def test_a_task_is_pickled_as_its_name(module: Any) -> None:
    """Of a module, of a class in it, and inside another callable; none of its code is sent."""
    assert there_and_back(module.double.function, 4) == 8
    assert there_and_back(module.Tools.halve.function, x=4) == 2.0
    assert there_and_back(functools.partial(module.double.function, 5)) == 10
    assert there_and_back(sorted, [2, -3], key=module.double.function) == [-3, 2]
    assert b"pickled_tasks" in pack_call(module.double.function, (), {})


def test_a_name_that_means_something_else_is_refused(module: Any) -> None:
    """Another function has taken it: the wrong one would run there."""
    with pytest.raises(TaskNotPicklableError, match=r"is not what pickled_tasks\.replaced names"):
        pack_call(module.first_of_two, (), {})
    assert there_and_back(module.replaced) == "new"


def test_a_class_of_the_script_is_refused_here_and_not_there(module: Any) -> None:
    """A worker would find another `__main__`; the argument is named."""
    module.Local.__module__ = "__main__"
    with pytest.raises(TaskNotPicklableError, match=r"argument 'x' is of Local, a class of the program"):
        pack_call(module.double.function, (module.Local(),), {})


def test_a_function_that_the_worker_cannot_find_is_an_error(
    module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module that only the sender has."""
    packed = pack_call(module.double.function, (1,), {})
    monkeypatch.delitem(sys.modules, "pickled_tasks")
    with pytest.raises(TaskNotPicklableError, match=r"task 'double'.*No module named 'pickled_tasks'"):
        open_answer(run_packed(packed), "double")


def test_an_answer_that_cannot_be_read_here_is_an_error() -> None:
    """An answer that is damaged is a result that cannot be read."""
    with pytest.raises(TaskNotPicklableError, match="its result cannot be read here"):
        open_answer(pickle.dumps([1])[:-3], "double")


class FromNumber(Exception):
    """The common form: made of data, with a text of its own."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"part {number} is bad")


class Wordless(Exception):
    """It does not call the ``__init__`` of what it derives from."""

    def __init__(self, number: int, *, why: str) -> None:
        self.number, self.why = number, why

    def __str__(self) -> str:
        return f"{self.number}: {self.why}"


class Slotted(Exception):
    """What it holds is not in its ``__dict__``."""

    __slots__ = ("code",)

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code


class OfTheSystem(OSError):
    """Made of other things than an ``OSError``."""

    def __init__(self, device: str) -> None:
        self.device = device
        super().__init__(5, "input/output error", f"/dev/{device}")


class InItsOwnWay(Exception):
    """It defines itself how it is pickled, and what it leaves out."""

    def __init__(self, number: int) -> None:
        super().__init__(f"number {number}")
        self.number = number
        self.way: Callable[[], int] = lambda: number

    def __reduce__(self) -> tuple[Any, ...]:
        return InItsOwnWay, (self.number,)


@dataclasses.dataclass
class Data(Exception):
    """A dataclass, made by keywords."""

    part: int
    why: str = "unknown"


ERRORS: list[Callable[[], Exception]] = [
    lambda: FromNumber(7),
    lambda: Wordless(7, why="broken"),
    lambda: Slotted("no", code=5),
    lambda: OfTheSystem("sda"),
    lambda: InItsOwnWay(3),
    lambda: Data(part=7),
    lambda: ValueError("plain", {"a": 1}),
    lambda: KeyError("missing"),
    lambda: FileNotFoundError(2, "no such file", "a.txt", None, "b.txt"),
    lambda: UnicodeDecodeError("utf-8", b"ab", 0, 1, "invalid"),
    lambda: ImportError("cannot", name="mod", path="/x"),
    lambda: pickle.UnpicklingError("odd"),
]


def raise_number(number: int) -> None:
    """Raise one of them."""
    error = ERRORS[number]()
    raise error


def shown(error: BaseException) -> dict[str, Any]:
    """Return all that a caller can see of an error."""
    names = {name for name in dir(error) if not name.startswith("_")} - {"way"}
    seen = {name: getattr(error, name) for name in names if not callable(getattr(error, name, len))}
    return {"type": type(error), "text": str(error), "args": error.args, **seen}


@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_an_error_is_not_built_again_from_its_own_text(number: int) -> None:
    """Whatever its ``__init__`` takes, it comes back with its text, its arguments and its attributes."""
    error = ERRORS[number]()
    with pytest.raises(type(error)) as raised:
        there_and_back(raise_number, number)
    assert shown(raised.value) == shown(error)


def raise_group() -> None:
    """Raise what a task group raises."""
    raise ExceptionGroup(
        "four failed", [ValueError("a"), FromNumber(7), Wordless(7, why="odd"), InItsOwnWay(3)]
    )


def test_a_group_of_errors_comes_back_with_its_members() -> None:
    """In their order, and each as it was."""
    with pytest.raises(ExceptionGroup, match="four failed") as raised:
        there_and_back(raise_group)
    texts = [(type(member), str(member)) for member in raised.value.exceptions]
    assert texts == [
        (ValueError, "a"),
        (FromNumber, "part 7 is bad"),
        (Wordless, "7: odd"),
        (InItsOwnWay, "number 3"),
    ]


def test_code_in_a_worker_can_tell_that_it_is_there() -> None:
    """Also after an error; what needs the engine (``cs.publish``) refuses to work there."""
    assert there_and_back(ask_where) is True
    with pytest.raises(ZeroDivisionError):
        there_and_back(divmod, 1, 0)
    assert in_worker.get() is False


class Unreadable:
    """It can be sent and not read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (divmod, (1, 0))


class Unsendable:
    def __reduce__(self) -> tuple[Any, ...]:
        raise ValueError("a socket")


def give(value: object, *more: object, key: object = None) -> object:
    """Return what it was given."""
    return value


def make_unsendable() -> object:
    return Unsendable()


def make_unreadable() -> object:
    return Unreadable()


@pytest.mark.parametrize(
    ("args", "kwargs", "part"),
    [
        ((Unsendable(),), {}, "argument 'value'"),
        ((1, Unsendable()), {}, "argument number 2"),
        ((1, 2, Unsendable()), {}, "argument number 3"),
        ((1, 2, 3, Unsendable()), {}, "argument number 4"),
        ((1,), {"key": Unsendable()}, "argument 'key'"),
        ((1,), {"other": 1, "key": [Unsendable()]}, "argument 'key'"),
    ],
)
def test_the_part_of_a_call_that_cannot_be_sent_is_named(
    args: tuple[Any, ...], kwargs: dict[str, Any], part: str
) -> None:
    """With what the pickler says of it, and its error as the cause."""
    with pytest.raises(TaskNotPicklableError) as raised:
        pack_call(give, args, kwargs)
    expected = f"task 'give' cannot run in another process: {part} cannot be pickled (ValueError: a socket)"
    assert str(raised.value) == expected
    assert (raised.value.task_name, raised.value.part) == ("give", part)
    assert isinstance(raised.value.__cause__, ValueError)


def test_a_call_that_cannot_be_sent_as_a_whole_is_an_error_of_the_call() -> None:
    """Each part can be sent: an executor may have a bound for all of them together."""

    def pack_little(value: object) -> bytes:
        packed = pack(value)
        if len(packed) > 300:
            raise ValueError("too long")
        return packed

    with pytest.raises(
        TaskNotPicklableError, match=r": the call cannot be pickled \(ValueError: too long\)$"
    ):
        pack_call(give, ("x" * 200, "y" * 200), {}, pack=pack_little)


def test_a_refusal_by_name_says_what_to_do_and_hides_the_pickler() -> None:
    """Its frames say nothing about a lambda, or about a function of another one."""

    def nested() -> None: ...

    refused = {
        "is a lambda": lambda: 1,
        "is defined inside another function": nested,
    }
    for problem, function in refused.items():
        with pytest.raises(TaskNotPicklableError) as raised:
            pack_call(function, (), {})
        assert f"its function {problem}; define it with def at the top of a module" in str(raised.value)
        assert raised.value.__cause__ is None
        with pytest.raises(TaskNotPicklableError, match=f"argument 'value' {problem}"):
            pack_call(give, (function,), {})


def test_a_function_whose_module_has_gone_is_refused(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No other process would find it either."""
    function = module.replaced
    monkeypatch.delitem(sys.modules, "pickled_tasks")
    with pytest.raises(TaskNotPicklableError, match=r"is not what pickled_tasks\.replaced names; define it"):
        pack_call(function, (), {})


def test_what_cannot_be_read_on_the_other_side_is_named() -> None:
    """An argument there, a result here; a result that cannot be sent at all, too."""
    with pytest.raises(TaskNotPicklableError) as raised:
        there_and_back(give, Unreadable())
    assert str(raised.value) == (
        "task 'the task' cannot run in another process: its function or an argument cannot be read in the worker: "
        f"{_division_by_zero()}"
    )
    assert raised.value.__cause__ is None
    with pytest.raises(
        TaskNotPicklableError, match="its result cannot be read here: ZeroDivisionError: "
    ) as raised:
        there_and_back(make_unreadable)
    assert isinstance(raised.value.__cause__, ZeroDivisionError)
    with pytest.raises(
        TaskNotPicklableError, match=r"its result cannot be pickled \(ValueError: a socket\)$"
    ):
        there_and_back(make_unsendable)


def _division_by_zero() -> str:
    try:
        divmod(1, 0)
    except ZeroDivisionError as exc:
        return f"ZeroDivisionError: {exc}"
    raise AssertionError


class Stubborn(Exception):
    """It holds what cannot be sent, in whatever way it is pickled."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = Unsendable()


def fail(kind: type[Exception]) -> None:
    raise kind("what happened")


def stop() -> None:
    raise StopIteration("what happened")


def test_an_error_that_cannot_be_sent_arrives_as_its_text() -> None:
    """With the traceback from there as the cause, and the problem."""
    with pytest.raises(TaskNotPicklableError) as raised:
        there_and_back(fail, Stubborn)
    assert "the error that it raised, '" in str(raised.value)
    assert "Stubborn: what happened', cannot be pickled (ValueError: a socket)" in str(raised.value)
    assert isinstance(raised.value.__cause__, RemoteTraceback)
    assert "in fail" in str(raised.value.__cause__)
    assert str(raised.value.__cause__).startswith(
        "\n\nwhere the task ran:\nTraceback (most recent call last)"
    )
    with pytest.raises(RuntimeError, match=r"^the task raised StopIteration$") as stopped:
        there_and_back(stop)
    assert "StopIteration: what happened" in str(stopped.value.__cause__)


class Shifting(Exception):
    """What it is made as depends on its text."""

    def __new__(cls, text: str) -> Any:
        return Exception.__new__(KeyError if text == "shifted" else cls, text)


def raise_shifting() -> None:
    error = Shifting("what happened")
    error.args = ("shifted",)
    raise error


def test_an_error_that_every_way_changes_arrives_as_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler of the other error must not catch it."""
    monkeypatch.delitem(copyreg.dispatch_table, Shifting, raising=False)  # a library may know another way
    with pytest.raises(TaskNotPicklableError, match=r"Shifting: shifted', changes its type$"):
        there_and_back(raise_shifting)
