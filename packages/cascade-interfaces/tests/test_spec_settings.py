"""Settings of tasks and of single calls: what is refused, what arrives, and what stays."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest

from cascade.interfaces import (
    ConfigurationError,
    TaskCallError,
    UsageError,
)
from cascade.spec import (
    CachePolicy,
    LazyResult,
    Policies,
    RetryPolicy,
    call_of,
    inject,
    task,
)


@task
def one(number: int = 1) -> int:
    return number


LAZY = one()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (((CachePolicy(),), {"ttl": 3, "key": len}), r"policy=\): is given already; put ttl, key into it"),
        (
            ((), {"zone": 3, "tttl": 3}),
            r"with_cache\(tttl=\): is unknown; there are ttl, key, ignore, version, .*",
        ),
        (((CachePolicy(file="a.csv"),), {}), ""),
        (((None,), {"ttl": 3}), ""),
    ],
)
def test_a_cache_is_described_by_a_policy_or_by_its_settings(
    settings: tuple[tuple[Any, ...], dict[str, Any]], words: str
) -> None:
    """Not by both: one of them would be ignored. A wrong setting is named, the first of several by name."""
    args, kwargs = settings
    if words:
        with pytest.raises(ConfigurationError, match=words):
            one.with_cache(*args, **kwargs)
    else:
        policy = call_of(one.with_cache(*args, **kwargs)(1)).policies.cache
        assert policy == (args[0] or CachePolicy(**kwargs))


@pytest.mark.parametrize(
    "wrong", [5, ValueError, {ValueError}, "ValueError", (ValueError, 3), [BaseException]]
)
def test_a_policy_of_retries_takes_classes_of_errors_in_a_list(wrong: Any) -> None:
    """A list is kept as a tuple, so that equal policies are equal; a single class is for ``with_retry`` alone."""
    with pytest.raises(ConfigurationError, match=r"with_retry\(on=\): needs exception classes, not"):
        RetryPolicy(on=wrong)
    made = RetryPolicy(on=cast("Any", [ValueError, OSError]))
    assert made == RetryPolicy(on=(ValueError, OSError))
    assert hash(made) == hash(RetryPolicy(on=(ValueError, OSError)))
    for on in (ValueError, (ValueError,), [ValueError]):
        assert call_of(one().with_retry(on=cast("Any", on))).policies.retry == RetryPolicy(on=(ValueError,))


def test_every_setting_of_retries_arrives() -> None:
    """By its name, of a task and of one call; what is not set has the default of the policy."""
    given: dict[str, Any] = {"delay": 1.0, "backoff": 2.0, "max_delay": 9.0, "jitter": 0.5, "on": (OSError,)}
    expected = RetryPolicy(4, **given)
    assert call_of(one().with_retry(4, **given)).policies.retry == expected
    assert call_of(one.with_retry(4, **given)()).policies.retry == expected
    assert call_of(one().with_retry()).policies.retry == RetryPolicy()
    assert [getattr(expected, name) for name in given] == [*given.values()]


@pytest.mark.parametrize("wrong", [0, 0.0, -1, float("nan"), float("inf"), True, "1"])
def test_a_time_limit_is_above_0(wrong: Any) -> None:
    """However it is given."""
    for declare in (
        lambda: one.with_timeout(wrong),
        lambda: one().with_timeout(wrong),
    ):
        with pytest.raises(ConfigurationError, match=r"with_timeout\(seconds\): needs a number above 0, not"):
            declare()
    one.with_timeout(0.001)


class Words:
    """An iterator that is not a generator."""

    def __iter__(self) -> Words:
        return self

    def __next__(self) -> str:
        raise StopIteration


async def later() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("value", [Words(), (n for n in range(3)), iter([1]), later()])
def test_an_iterator_is_no_argument_of_a_call_that_may_be_tried_again(value: Any) -> None:
    """Whichever comes first, the argument or the setting; one attempt may read it, and a file can be read again."""
    refused: list[Callable[[], object]] = [
        lambda: one.with_retry(2)(value),
        lambda: one.with_retry(2)(number=value),
        lambda: one(value).with_retry(2),
        lambda: one(number=value).with_retry(2),
    ]
    fine: list[Callable[[], object]] = [
        lambda: one.with_retry(1)(value),
        lambda: one(value),
        lambda: one(value).with_timeout(1),
        lambda: one(cast("Any", io.StringIO("a"))).with_retry(2),
    ]
    for declare in refused:
        with pytest.raises(ConfigurationError, match="which only the first attempt could read; pass a list"):
            declare()
    for declare in fine:
        assert isinstance(declare(), LazyResult)
    with pytest.raises(UsageError, match="which only the first item could read; pass a list"):
        task(lambda a, b: a).partial(b=value).map(a=[1])


def test_each_setting_of_a_call_arrives_and_leaves_the_others_as_they_are() -> None:
    """Of a call and of a task; the call that it was made of stays as it was."""
    policies: list[tuple[Callable[[Any], Any], dict[str, Any]]] = [
        (lambda x: x.with_timeout(2), {"timeout": 2}),
        (lambda x: x.with_constraints(gpu=1, ram=LAZY), {"demands": {"gpu": 1, "ram": LAZY}}),
        (lambda x: x.at_most_once(), {"at_most_once": True}),
        (lambda x: x.unrecorded(), {"recorded": False}),
        (lambda x: x.with_retry(2), {"retry": RetryPolicy(2)}),
        (lambda x: x.with_cache(ttl=3), {"cache": CachePolicy(ttl=3)}),
    ]
    call, whole, given = one(3).after(LAZY), one, dict[str, Any]()
    for change, added in policies:
        before = call_of(call).policies
        changed, whole = change(call), change(whole)
        assert call_of(call).policies is before
        given |= added
        call = changed
        for made in (call, whole(3)):
            assert call_of(made).policies == Policies(**given)
        assert (call_of(call).args, call_of(call).predecessors) == ((3,), (LAZY,))
    assert call_of(one(3)).policies == Policies()
    assert whole.name == "one"


def test_a_map_keeps_its_columns_whatever_is_set() -> None:
    """Its limit, its policies, what it waits for and its name are its own."""
    mapped = task(lambda a, b: a).partial(b=2).map(a=[1, 2])
    changed = mapped.with_concurrency(4).with_retry(2).after(LAZY).named("sum")
    call: Any = call_of(changed)
    assert (call.kwargs, call.fixed, call.limit) == ({"a": (1, 2)}, {"b": 2}, 4)
    assert (call.policies.retry, call.predecessors, call.definition.name) == (RetryPolicy(2), (LAZY,), "sum")
    assert cast("Any", call_of(mapped)).limit is None
    assert cast("Any", call_of(changed.with_concurrency(1))).limit == 1


@pytest.mark.parametrize(
    ("given", "skips", "otherwise"),
    [
        ({}, True, None),
        ({"otherwise": None}, False, None),
        ({"otherwise": 3}, False, 3),
        ({"otherwise": LAZY}, False, LAZY),
    ],
)
def test_a_condition_skips_a_call_or_gives_another_value(
    given: dict[str, Any], skips: bool, otherwise: object
) -> None:
    """A value of None is a value; a container with lazy results becomes one that gives it."""
    condition = call_of(one(1).run_if(LAZY, **given)).condition
    assert condition is not None
    assert (condition.lazy, condition.skips) == (LAZY, skips)
    assert condition.otherwise is otherwise
    held = call_of(one(1).run_if(LAZY, otherwise=[LAZY])).condition
    assert held is not None
    assert isinstance(held.otherwise, LazyResult)
    assert call_of(held.otherwise).args == ([LAZY],)


async def later_one() -> int:
    return 1


class Model:
    async def __call__(self) -> int:
        return 1


@pytest.mark.parametrize(
    ("function", "mode", "on_loop", "is_async", "inline"),
    [
        (one.function, "auto", False, False, False),
        (one.function, "inline", True, False, True),
        (one.function, "thread", False, False, False),
        (later_one, "auto", True, True, False),
        (later_one, "inline", True, True, False),
        (Model(), "auto", True, True, False),
        (Model, "auto", False, False, False),
        (lambda db=inject("db"): db, "inline", True, False, False),  # noqa: B008 - the usual form
    ],
)
def test_where_and_how_a_function_is_called(
    function: Any, mode: str, on_loop: bool, is_async: bool, inline: bool
) -> None:
    """A class whose instances are called asynchronously is called like any other class."""
    made = task(mode=mode)(function)._definition
    assert (made.mode, made.on_loop, made.is_async, made.inline) == (mode, on_loop, is_async, inline)
    assert not made.structural
    if on_loop and not is_async:
        with pytest.raises(
            ConfigurationError, match="has mode='inline' and blocks the event loop, so no time limit"
        ):
            task(mode=mode)(function).with_timeout(1)
    else:
        assert isinstance(task(mode=mode)(function).with_timeout(1)(), LazyResult)


@pytest.mark.parametrize(
    ("function", "fine", "wrong"),
    [
        (
            lambda a, b=2: a,
            [((1,), {}), ((1, 2), {}), ((), {"a": 1}), ((1,), {"b": 2})],
            [((), {}), ((1, 2, 3), {}), ((1,), {"a": 1})],
        ),
        (lambda *a: a, [((), {}), ((1, 2, 3), {})], [((1,), {"a": 1})]),
        (lambda a, *, b: a, [((1,), {"b": 2})], [((1,), {}), ((1, 2), {})]),
        (lambda a, /: a, [((1,), {})], [((), {"a": 1}), ((1, 2), {})]),
        (lambda **a: a, [((), {}), ((), {"b": 1})], [((1,), {})]),
        (lambda: 1, [((), {})], [((1,), {})]),
    ],
)
def test_a_call_takes_what_its_function_takes(
    function: Any, fine: list[tuple[Any, dict[str, Any]]], wrong: list[tuple[Any, dict[str, Any]]]
) -> None:
    """Whatever kinds its parameters are of."""
    made: Any = task(function)
    for args, kwargs in fine:
        call = call_of(made(*args, **kwargs))
        assert (call.args, dict(call.kwargs)) == (args, kwargs)
    for args, kwargs in wrong:
        with pytest.raises(TaskCallError, match="task '<lambda>': "):
            made(*args, **kwargs)
