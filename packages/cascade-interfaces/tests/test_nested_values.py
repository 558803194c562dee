"""Lazy results inside containers: found and replaced where the container can be rebuilt, else refused at the call."""

import collections
import functools
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest

from cascade.interfaces import ConfigurationError, InputsError, TaskCallError, TaskDefinitionError, UsageError
from cascade.spec import (
    Env,
    Param,
    call_of,
    find_lazies,
    read_inputs,
    substitute,
    task,
)


@task
def one() -> int:
    return 1


@task
def take(value: Any) -> Any:
    return value


LAZY = one()


class Names(list[Any]):
    """A list with a rule and an attribute."""

    label = "none"

    def append(self, value: Any) -> None:
        raise RuntimeError("closed")


class Table(dict[str, Any]):
    def __setitem__(self, key: str, value: Any) -> None:
        raise RuntimeError("closed")


class Bag(set[Any]): ...


class Frozen(frozenset[Any]): ...


class Pair(tuple[Any, ...]):  # noqa: SLOT001 - with attributes, on purpose
    label = "none"


class Point(NamedTuple):
    x: Any
    y: Any


@dataclass(frozen=True, slots=True)
class Record:
    x: Any
    y: int = 2


class Struct(msgspec.Struct, frozen=True):
    x: Any
    y: int = 2


class Holder:
    """An object of no known kind."""

    def __init__(self, x: Any) -> None:
        self.x = x


class Slotted:
    __slots__ = ("__x",)

    def __init__(self, x: Any) -> None:
        self.__x = x


class OnceOnly(list[Any]):
    def __copy__(self) -> "OnceOnly":
        raise RuntimeError("one is enough")


class Plain(list[Any]):
    def __copy__(self) -> list[Any]:
        return list(self)


REBUILT: list[Callable[[Any], Any]] = [
    lambda x: [x],
    lambda x: (x, 2),
    lambda x: {"k": x},
    lambda x: {x: "v"},
    lambda x: {(x, 1): "v"},
    lambda x: {x},
    lambda x: frozenset({x, 5}),
    lambda x: collections.deque([1, x, 3], maxlen=3),
    lambda x: collections.OrderedDict(b=x, a=1),
    lambda x: collections.OrderedDict([(x, 2), ("a", 1)]),
    lambda x: collections.defaultdict(list, {"k": x}),
    lambda x: collections.UserDict({"k": x}),
    lambda x: collections.UserList([x]),
    lambda x: collections.ChainMap({"k": x}),
    lambda x: types.SimpleNamespace(a=x),
    lambda x: types.MappingProxyType({"k": x}),
    lambda x: Names([x]),
    lambda x: Table(k=x),
    lambda x: Bag({x}),
    lambda x: Frozen({x}),
    lambda x: Pair((x, 1)),
    lambda x: Point(x, 1),
    Record,
    Struct,
    lambda x: [{"k": ({x}, Record(x))}],
    lambda x: slice(x, None, 2),
]


@pytest.mark.parametrize("make", REBUILT)
def test_a_container_of_the_same_type_holds_the_value(make: Callable[[Any], Any]) -> None:
    """Every kind of container that can be rebuilt arrives as it was, with the value in the lazy result's place."""
    given = make(LAZY)
    assert find_lazies(given)
    assert set(map(id, find_lazies(given))) == {id(LAZY)}
    arrived = substitute(call_of(take(given)).args[0], lambda lazy: 7)
    assert type(arrived) is type(make(7))
    assert arrived == make(7)
    assert find_lazies(arrived) == []
    assert find_lazies(given)  # the caller's own is as it was


def test_what_a_container_has_beside_its_items_stays() -> None:
    """A default factory, a length limit and attributes are copied, too."""
    names = Names([LAZY])
    names.label = "mine"
    assert substitute(names, lambda lazy: 7).label == "mine"
    pair = Pair([LAZY])
    pair.label = "mine"
    assert substitute(pair, lambda lazy: 7).label == "mine"
    assert substitute(collections.defaultdict[str, Any](list, k=LAZY), lambda lazy: 7).default_factory is list
    assert substitute(collections.deque([LAZY], 4), lambda lazy: 7).maxlen == 4
    call = functools.partial(print, LAZY, end=LAZY)
    made = substitute(call, lambda lazy: 7)
    assert (made.func, made.args, made.keywords) == (print, (7,), {"end": 7})


class Matrix(np.ndarray): ...


def array_of(x: Any) -> Any:
    """Return an array of objects that was filled item by item."""
    made = np.empty(2, dtype=object)
    made[1] = x
    return made


REFUSED: list[Callable[[Any], Any]] = [
    Holder,
    Slotted,
    lambda x: [Holder(x)],
    lambda x: {"k": x}.values(),
    lambda x: {"k": x}.items(),
    lambda x: {x: 1}.keys(),
    lambda x: OnceOnly([x]),
    lambda x: Plain([x]),
    lambda x: ValueError("bad", x),
    array_of,
    lambda x: array_of(x).reshape(1, 2),
    lambda x: array_of(x).view(Matrix),
]


@pytest.mark.parametrize("make", REFUSED)
def test_a_lazy_result_that_no_value_could_replace_is_refused_at_the_call(make: Callable[[Any], Any]) -> None:
    """The message names the task, the container and what to write instead; no task ever gets the lazy result."""
    with pytest.raises(
        TaskCallError, match=r"task 'take': a lazy result stands in a .*; pass it as an argument"
    ):
        take(make(LAZY))
    with pytest.raises(TaskCallError, match="a lazy result stands in a"):
        take.map(value=[1, make(LAZY)])
    with pytest.raises(TaskCallError, match="a lazy result stands in a"):
        take.partial(value=make(LAZY))()
    with pytest.raises(UsageError, match="a lazy result stands in a"):
        one().run_if(LAZY, otherwise=make(LAZY))
    assert find_lazies(make(7)) == []
    take(make(7))


@pytest.mark.parametrize(
    "make",
    [
        lambda x: np.array([x, x]),
        lambda x: np.array([x], dtype=object),
        np.asarray,
        lambda x: np.full(2, x),
        lambda x: np.sum([x, x]),
        lambda x: np.ones(2) + x,
        np.sin,
    ],
)
def test_numpy_makes_no_array_of_a_lazy_result(make: Callable[[Any], Any]) -> None:
    """The mistake is named where the array would be made, not where a task computes with it."""
    with pytest.raises(UsageError, match=r"<LazyResult one with 0 arguments> has no value before it runs"):
        make(LAZY)


def test_a_tuple_that_holds_itself_is_refused_at_the_call() -> None:
    """Not in the middle of the run: no copy of it could be made."""
    inner: list[Any] = []
    pair = (inner, LAZY)
    inner.append(pair)
    with pytest.raises(TaskCallError, match="a tuple holds itself and a lazy result, so it cannot be copied"):
        take(pair)


@pytest.mark.parametrize("mark", ["__dataclass_fields__", "__attrs_attrs__", "__pydantic_fields__"])
def test_records_of_each_library_are_known_by_their_mark(mark: str) -> None:
    """The library need not be imported; the copy is made without calling the class."""

    def refuse(self: object) -> None:
        raise RuntimeError("a record is made once")

    kind: Any = type("Row", (), {mark: {}, "__slots__": ("x", "y"), "__init__": refuse})
    row = kind.__new__(kind)
    row.x, row.y = [LAZY], 2
    take(row)
    made = substitute(row, lambda lazy: 7)
    assert (type(made), made.x, made.y, row.x) == (kind, [7], 2, [LAZY])


class Described:
    """A class with a lazy result of its own, as a registry of a user might have."""

    of_all = LAZY

    def method(self) -> None: ...


def described() -> None: ...


described.of_all = LAZY  # type: ignore[attr-defined]
module = types.ModuleType("described")
module.of_all = LAZY  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "value", [Described, described, module, Described().method, Described(), len, [1].append]
)
def test_what_a_class_a_function_or_a_module_has_is_its_own_affair(value: Any) -> None:
    """They are passed on as they are, alone or in a container, and no call waits for what they refer to."""
    for given in (value, [value, LAZY]):
        take(given)
        assert find_lazies(given) == ([LAZY] if isinstance(given, list) else [])
    assert substitute([value, LAZY], lambda lazy: 7) == [value, 7]
    assert substitute(value, lambda lazy: 7) is value


@pytest.mark.parametrize("kind", [set, frozenset, Bag, Frozen])
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: [x], lambda x: {"k": (x,)}])
def test_calls_in_every_kind_of_set_have_the_order_of_their_declaration(
    kind: Callable[[Any], Any], wrap: Callable[[Any], Any]
) -> None:
    """Wherever the set stands; without a set they have the order in which they stand."""
    lazies = [take(n) for n in range(20)]
    assert find_lazies(wrap(kind(lazies[::-1]))) == lazies
    assert find_lazies(wrap(lazies[::-1])) == lazies[::-1]


def test_one_object_in_is_one_object_out() -> None:
    """A list that occurs in several arguments arrives as one list, and doubling it costs nothing."""
    shared = [LAZY]
    args, kwargs = substitute(((shared, [shared]), {"k": {"a": shared}}), lambda lazy: 7)
    assert args[0] == [7]
    assert args[0] is args[1][0] is kwargs["k"]["a"]
    deep: Any = [LAZY]
    for _ in range(200):
        deep = [deep, deep]
    take(deep)
    made = substitute(deep, lambda lazy: 7)
    for _ in range(200):
        assert made[0] is made[1]
        made = made[0]
    assert made == [7]


def test_a_container_that_holds_itself_is_copied_once() -> None:
    """Its copy holds the copy; without a lazy result inside it is passed on itself."""
    inner: dict[str, Any] = {}
    inner["self"] = inner
    outer = substitute(call_of(take([inner, LAZY])).args[0], lambda lazy: 7)
    assert outer[0] is inner
    assert outer[1] == 7
    inner["x"] = [LAZY, (inner,)]
    made = substitute(call_of(take([inner, LAZY])).args[0], lambda lazy: 7)[0]
    assert made is not inner
    assert made["self"] is made
    assert made["x"][0] == 7
    assert made["x"][1][0] is made
    names = Names([LAZY])
    list.append(names, names)
    with pytest.raises(TaskCallError, match="a Names holds itself and a lazy result"):
        take(names)


def test_a_default_argument_cannot_be_lazy() -> None:
    """No call would wait for it; the message shows how to pass it."""

    def total(x: int, y: Any = LAZY) -> int:
        return x

    def wrapped(y: Any = Holder([LAZY])) -> None: ...  # noqa: B008 - on purpose

    with pytest.raises(TaskDefinitionError, match=r"the default of 'y' of task 'total' .*total\(y=\.\.\.\)"):
        task(total)
    task(wrapped)  # what an object of no known kind holds deeper inside is its own affair

    def held(y: Any = Holder(LAZY)) -> None: ...  # noqa: B008 - on purpose

    with pytest.raises(TaskDefinitionError, match="the default of 'y'"):
        task(held)


def test_an_input_cannot_be_lazy() -> None:
    """Neither its default nor a value that is given for it."""
    for wrong in (LAZY, [LAZY], Holder(LAZY)):
        with pytest.raises(ConfigurationError, match=r"Param\(default=\)"):
            Param("n", default=wrong)
        with pytest.raises(ConfigurationError, match=r"Env\(default=\)"):
            Env("n", default=wrong)
        source = call_of(Param("n", type=list))
        with pytest.raises(InputsError, match="is or holds a lazy result: pass the lazy result to the task"):
            read_inputs([source.source], {"n": wrong}, {})  # type: ignore[attr-defined]


def test_a_lazy_result_is_equal_to_itself_and_compares_with_nothing_else() -> None:
    """Two lazy results compare by identity; with a value the comparison would always be wrong."""
    other: object = one()
    assert LAZY == LAZY  # noqa: PLR0124 - on purpose
    assert other != LAZY
    assert LAZY in {LAZY, other}
    assert len({LAZY, other, LAZY}) == 2
    compare: Callable[[], Any]
    for compare in (lambda: LAZY == 1, lambda: LAZY != 1, lambda: 1 == LAZY, lambda: None == LAZY):  # noqa: E711, SIM300
        with pytest.raises(UsageError, match="cannot be compared with"):
            compare()


def test_a_lazy_result_has_a_text_for_people_only() -> None:
    """``str()`` and ``repr()`` describe it; a format, which wants the value, is refused."""
    assert str(LAZY) == repr(LAZY) == "<LazyResult one()>"
    assert f"{LAZY!r}" == repr(LAZY)
    text: Callable[[], Any]
    for text in (lambda: f"{LAZY}", lambda: f"{LAZY:>5}", lambda: "{}".format(LAZY)):  # noqa: UP032 - on purpose
        with pytest.raises(UsageError, match="cannot be put into a text"):
            text()
