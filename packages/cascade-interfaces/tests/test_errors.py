"""Every error of Cascade crosses a process whole: its type, its text and its attributes."""

import copy
import functools
import pickle
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn, get_type_hints

import pytest

import cascade.interfaces.storage  # the errors that are not in errors.py
import cascade.interfaces.wire  # noqa: F401
from cascade.interfaces import CascadeError, ConnectorUnavailable
from cascade.interfaces.parcels import carry_out, open_answer, pack_call

VALUES: dict[Any, Any] = {
    str: "press line 3",
    str | None: "what all may know",
    int: 3,
    float: 1.5,
    object: [1, "two"],
    tuple[str, ...]: ("a", "b"),
    tuple[object, ...]: (1, "b"),
    dict[str, int]: {"x": 1, "y": 2},
    Mapping[str, str]: {"x": "is missing"},
}
"""For each type that a parameter of an error has, something to make it of."""


def below(kind: type[CascadeError]) -> Iterator[type[CascadeError]]:
    """Yield the class and every class below it that this distribution has."""
    if kind.__module__.startswith("cascade.interfaces."):
        yield kind
    for sub in kind.__subclasses__():
        yield from below(sub)


def made(kind: type[CascadeError]) -> CascadeError:
    """Make an error of this class with something for each of its parameters."""
    if kind.__init__ is CascadeError.__init__:
        return kind("what happened to 42", public="what happened")
    hints = get_type_hints(kind.__init__)
    return kind(**{name: VALUES[hint] for name, hint in hints.items() if name != "return"})


def shown(error: BaseException) -> tuple[Any, ...]:
    """Return all that a caller can see of an error."""
    return type(error), str(error), getattr(error, "public", ""), error.args, vars(error)


def through_pickle(error: CascadeError) -> object:
    """Do what a pool of the standard library does with an error, with each protocol that there is."""
    for protocol in range(pickle.HIGHEST_PROTOCOL):
        assert shown(pickle.loads(pickle.dumps(error, protocol))) == shown(error)
    return pickle.loads(pickle.dumps(error))


def through_a_parcel(error: CascadeError) -> object:
    """Do what an executor does with the error of a task."""
    with pytest.raises(type(error)) as raised:
        open_answer(carry_out(pack_call(functools.partial(fail, error), (), {})), "the task")
    return raised.value


def fail(error: Exception) -> NoReturn:
    raise error


@pytest.mark.parametrize("travel", [through_pickle, through_a_parcel, copy.copy, copy.deepcopy])
@pytest.mark.parametrize("kind", sorted(set(below(CascadeError)), key=repr))
def test_an_error_arrives_as_it_was(kind: type[CascadeError], travel: Callable[[CascadeError], Any]) -> None:
    """None is built a second time from its own message."""
    error = made(kind)
    assert shown(travel(error)) == shown(error)


class OfSomebodyElse(ConnectorUnavailable):
    """An error of a package that builds on ours, with another ``__init__``."""

    def __init__(self, *, code: int) -> None:
        super().__init__("broker", 1883, f"code {code}")
        self.code = code


@pytest.mark.parametrize("travel", [through_pickle, through_a_parcel, copy.copy])
def test_an_error_that_somebody_derives_arrives_as_it_was(travel: Callable[[CascadeError], Any]) -> None:
    """Its author has nothing to do for it; notes travel too."""
    error = OfSomebodyElse(code=7)
    error.add_note("seen on Monday")
    assert shown(travel(error)) == shown(error)
