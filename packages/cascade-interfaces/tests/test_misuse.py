"""Lazy results and tasks that are used like values or like those of other libraries: the right form is named."""

from __future__ import annotations

import math
import operator
from typing import Any

import pytest

from cascade.interfaces import ConfigurationError, TaskCallError, UsageError
from cascade.spec import LazyResult, Param, Router, sequence, task


@task
def one(number: int = 1) -> int:
    return number


LAZY: Any = one()

BINARY = ["+", "-", "*", "@", "/", "//", "%", "**", "<<", ">>", "&", "^", "|"]
COMPARED = ["<", "<=", ">", ">="]


@pytest.mark.parametrize(
    ("text", "sign"),
    [(f"x {each} 1", each) for each in (*BINARY, *COMPARED)] + [(f"1 {each} x", each) for each in BINARY],
)
def test_an_operator_needs_a_value(text: str, sign: str) -> None:
    """Both ways round; the message shows the operator as it was written, and says what to do."""
    with pytest.raises(UsageError) as raised:
        eval(text, {"x": LAZY})
    assert f"no value before it runs, so {sign} cannot compute with it; compute inside" in str(raised.value)


@pytest.mark.parametrize(
    ("convert", "words"),
    [
        (len, "so len() cannot compute"),
        (int, "so int() cannot compute"),
        (float, "so float() cannot compute"),
        (round, "so round() cannot compute"),
        (operator.index, "so it cannot be a whole number"),
        (operator.neg, "so - cannot compute"),
        (operator.pos, "so + cannot compute"),
        (operator.invert, "so ~ cannot compute"),
        (abs, "so abs() cannot compute"),
        (lambda x: 3 in x, "so the test with in cannot compute"),
        (lambda x: divmod(x, 2), "so divmod() cannot compute"),
        (lambda x: divmod(2, x), "so divmod() cannot compute"),
        (lambda x: pow(2, x), "so ** cannot compute"),
        (math.sqrt, "so float() cannot compute"),
        (lambda x: [1, 2][x], "so it cannot be a whole number"),
    ],
)
def test_a_conversion_needs_a_value(convert: Any, words: str) -> None:
    """It stands in the message as the user has written it."""
    with pytest.raises(UsageError, match="<LazyResult one with 0 arguments> ") as raised:
        convert(LAZY)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    "name", ["result", "compute", "get", "run", "collect", "execute", "evaluate", "wait"]
)
def test_a_method_that_gives_a_value_elsewhere_is_translated(name: str) -> None:
    """As other libraries call it."""
    with pytest.raises(
        UsageError, match=rf"a lazy result has no method {name}\(\); write cs\.run\(lazy\), or await"
    ):
        getattr(LAZY, name)()


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (
            LAZY,
            "<LazyResult one with 0 arguments> cannot be called: it is the result of a call; call the task",
        ),
        (
            lambda: LAZY.with_retri(3),
            r"no method with_retri\(\); did you mean with_retry\?; call methods of its value inside",
        ),
        (LAZY.zzz, r"no method zzz\(\); call methods of its value inside a task"),
        (LAZY[0], r"<LazyResult item with 2 arguments> cannot be called"),
        (
            lambda: one(number=2).__bool__(),
            "<LazyResult one with 1 argument> has no value before it runs; decide",
        ),
    ],
)
def test_a_call_of_a_lazy_result_names_what_was_meant(use: Any, words: str) -> None:
    """Its task, or the method with the most similar name."""
    with pytest.raises(UsageError, match=words):
        use()


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (
            lambda x: x.with_retri,
            "task 'one' has no method with_retri; did you mean with_retry\\?; call the task, and run",
        ),
        (lambda x: x.zzz, "task 'one' has no method zzz; call the task"),
        (lambda x: x._zzz, "'Task' object has no attribute '_zzz'"),
        (lambda x: LAZY._zzz, "'LazyResult' object has no attribute '_zzz'"),
    ],
)
def test_an_attribute_of_a_task_is_not_one_of_its_value(use: Any, words: str) -> None:
    """Names that begin with an underline are those of Python and of libraries."""
    with pytest.raises(AttributeError, match=words):
        use(one)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("retries", r"write task\.with_retry\(\.\.\.\) on the declared task"),
        ("max_retries", r"write task\.with_retry\("),
        ("timeout", r"write task\.with_timeout\("),
        ("cache", r"write task\.with_cache\("),
        ("constraints", r"write task\.with_constraints\("),
        ("nam", r"task has name and mode; did you mean name\?"),
        ("zzz", r"task has name and mode$"),
    ],
)
def test_a_setting_of_another_library_is_translated(setting: str, words: str) -> None:
    """With the method that sets it here."""
    with pytest.raises(ConfigurationError, match=rf"^task\({setting}=\): it is not a setting; {words}"):
        task(**{setting: 3})  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "setting", ["with_retry", "with_timeout", "with_cache", "with_constraints", "at_most_once", "unrecorded"]
)
def test_a_step_of_the_graph_names_the_setting_that_it_does_not_take(setting: str) -> None:
    """And the step, in the words of the declaration."""
    args: dict[str, tuple[Any, ...]] = {"with_timeout": (2,)}
    steps = {"item": LAZY[0], "attribute": LAZY.real, "route": Router(LAZY, {1: LAZY}), "n": Param("n")}
    for name, step in {**steps, "sequence": sequence(LAZY)}.items():
        with pytest.raises(
            ConfigurationError, match=f"^{setting}: '{name}' is a step of the graph and calls no task; "
        ):
            getattr(step, setting)(*args.get(setting, ()))


@pytest.mark.parametrize(
    ("function", "kwargs", "problem"),
    [
        (
            lambda alpha, beta: 1,
            {"alfa": 1},
            "got an unexpected keyword argument 'alfa'; did you mean alpha=?",
        ),
        (lambda alpha: 1, {"zzz": 1}, "got an unexpected keyword argument 'zzz'; did you mean alpha=?"),
        (lambda alpha, beta: 1, {"zzz": 1}, "got an unexpected keyword argument 'zzz'"),
        (
            lambda alpha, /, beta=1: 1,
            {"alpha": 1},
            "got an unexpected keyword argument 'alpha'; did you mean beta=?",
        ),
        (lambda alpha, **more: 1, {"zzz": 1}, "missing a required argument: 'alpha'"),
        (lambda alpha, *, beta: 1, {"alpha": 1}, "missing a required "),
    ],
)
def test_a_wrong_keyword_is_named_with_the_nearest_parameter(
    function: Any, kwargs: dict[str, Any], problem: str
) -> None:
    """A function that takes any keyword is called wrongly in another way."""
    with pytest.raises(TaskCallError) as raised:
        task(function)(**kwargs)
    assert raised.value.problem.startswith(problem)
    assert ("mean" in raised.value.problem) is ("mean" in problem)


def test_a_lazy_result_cannot_be_changed_awaited_or_put_into_an_array() -> None:
    """Each mistake is named where it is made."""
    with pytest.raises(
        AttributeError, match="<LazyResult one with 0 arguments> is immutable; its methods return new"
    ):
        LAZY.label = "mine"
    with pytest.raises(UsageError, match=r"is a declaration and cannot be awaited; write: await cs\.arun"):
        LAZY.__await__()
    with pytest.raises(
        TaskCallError, match=r"map takes its iterables by name; write one\.map\(number=\[\.\.\.\]\)"
    ):
        one.map([1])  # type: ignore[call-arg]
    with pytest.raises(TaskCallError, match=r"write max\.map\(x=\[\.\.\.\]\)"):
        task(max).map([1])  # type: ignore[call-arg]
    assert isinstance(LAZY.label, LazyResult)
