"""Every error of Cascade crosses a process whole: its type, its text and its attributes."""

import copy
import functools
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, get_type_hints

import pytest

import cascade.interfaces.cache  # the errors that are not in errors.py
import cascade.interfaces.state_errors
import cascade.interfaces.wire  # noqa: F401
from cascade.interfaces import CascadeError, ChangeKind, ConnectorUnavailable, RecordedStatus, StepChange
from cascade.interfaces.pickled_calls import open_answer, pack_call, run_packed

VALUES: dict[Any, Any] = {
    str: "press line 3",
    str | None: "what all may know",
    int: 3,
    float: 1.5,
    object: [1, "two"],
    tuple[str, ...]: ("a", "b"),
    tuple[str, str] | None: ("0x1 of the caller", "0x2"),
    tuple[object, ...]: (1, "b"),
    dict[str, int]: {"x": 1, "y": 2},
    Mapping[str, str]: {"x": "is missing"},
    RecordedStatus: RecordedStatus.CANCELLED,
    Sequence[StepChange]: (StepChange("resize:0", ChangeKind.CODE),),
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


def through_a_pickled_call(error: CascadeError) -> object:
    """Do what an executor does with the error of a task."""
    with pytest.raises(type(error)) as raised:
        open_answer(run_packed(pack_call(functools.partial(fail, error), (), {})), "the task")
    return raised.value


def fail(error: Exception) -> NoReturn:
    raise error


@pytest.mark.parametrize("transfer", [through_pickle, through_a_pickled_call, copy.copy, copy.deepcopy])
@pytest.mark.parametrize("kind", sorted(set(below(CascadeError)), key=repr))
def test_an_error_arrives_as_it_was(
    kind: type[CascadeError], transfer: Callable[[CascadeError], Any]
) -> None:
    """None is built a second time from its own message."""
    error = made(kind)
    assert shown(transfer(error)) == shown(error)


class Derived(ConnectorUnavailable):
    """An error of a package that builds on ours, with another ``__init__``."""

    def __init__(self, *, code: int) -> None:
        super().__init__("broker", 1883, f"code {code}")
        self.code = code


@pytest.mark.parametrize("transfer", [through_pickle, through_a_pickled_call, copy.copy])
def test_an_error_of_a_derived_class_arrives_as_it_was(transfer: Callable[[CascadeError], Any]) -> None:
    """Its author need not do anything for it; notes arrive too."""
    error = Derived(code=7)
    error.add_note("seen on Monday")
    assert shown(transfer(error)) == shown(error)


IN_THE_TEXT_ALONE = {"value", "payload", "remedy", "advice", "public", "loops"}
"""Arguments that stand in the text of an error and not in its attributes: a value may be large or contain a secret."""


@pytest.mark.parametrize(
    "kind",
    [
        kind
        for kind in sorted(set(below(CascadeError)) - {CascadeError}, key=repr)
        if "__init__" in vars(kind)
    ],
)
def test_an_error_keeps_what_it_was_made_of(kind: type[CascadeError]) -> None:
    """Code that handles it need not parse its text."""
    hints = get_type_hints(kind.__init__)
    made_of = {
        name: VALUES[hint] for name, hint in hints.items() if name not in {"return"} | IN_THE_TEXT_ALONE
    }
    error = made(kind)
    assert {name: getattr(error, name, "is not kept") for name in made_of} == made_of
