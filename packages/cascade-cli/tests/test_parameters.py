"""From texts of the command line to values: types, docstrings, inputs."""

import datetime as dt
import enum
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

import cascade as cs
from cascade.cli import CommandError
from cascade.cli._workflow.conversions import conversion_of
from cascade.cli._workflow.docstrings import descriptions, summary
from cascade.cli._workflow.parameters import of_function
from cascade.cli._workflow.workflow import Workflow, workflow_of


class Color(enum.Enum):
    RED = "red"
    BLUE = 2


class Odd:
    def __init__(self, text: str) -> None:
        raise RuntimeError(f"odd {text}")


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (int, "-3", -3),
        (float, "1e3", 1000.0),
        (str, " a ", " a "),
        (Any, "3", "3"),
        (bool, "On", True),
        (bool, "no", False),
        (Path, "a/b", Path("a/b")),
        (Decimal, "1.10", Decimal("1.10")),
        (dt.date, "2026-11-21", dt.date(2026, 11, 21)),
        (dt.datetime, "2026-11-21T03:00", dt.datetime(2026, 11, 21, 3)),  # noqa: DTZ001
        (Color, "red", Color.RED),
        (Color, "BLUE", Color.BLUE),
        (Color, "2", Color.BLUE),
        (Literal["a", 3], "3", 3),
        (int | None, "3", 3),
        (int | str, "x", "x"),
        (list[int], "[1, 2]", [1, 2]),
        (tuple[int, ...], "[1, 2]", (1, 2)),
        (set, "[1]", {1}),
        (Sequence[str], '["a"]', ["a"]),
        (dict[str, int], '{"a": 1}', {"a": 1}),
        (Mapping, "{}", {}),
        (Annotated[int, "how many"], "3", 3),
        (lambda text: text * 2, "ab", "abab"),
    ],
)
def test_a_text_becomes_a_value_of_its_type(kind: Any, text: str, value: Any) -> None:
    """The types that people annotate, alone and in containers."""
    made = conversion_of(kind).convert(text)
    assert (made, type(made)) == (value, type(value))


@pytest.mark.parametrize(
    ("kind", "text", "problem"),
    [
        (int, "x", "needs a whole number, not 'x'"),
        (float, "", "needs a number, not ''"),
        (bool, "perhaps", "needs true or false, not 'perhaps'"),
        (dt.date, "today", "needs a date such as 2026-11-21, not 'today'"),
        (Color, "green", "needs one of red, 2, not 'green'"),
        (Literal["a", "b"], "c", "needs one of a, b, not 'c'"),
        (list[int], "1,2", "needs a JSON array such as [1, 2], not '1,2'"),
        (dict, "[1]", "needs a JSON object such as {\"a\": 1}, not '[1]'"),
        (dict, "[" * 100_000, "needs a JSON object"),
        (int | bool, "x", "needs a whole number, not 'x'; or needs true or false, not 'x'"),
        (Odd, "x", "'x' cannot be converted (RuntimeError: odd x)"),
        (Decimal, "x", "'x' cannot be converted (InvalidOperation"),
    ],
)
def test_a_wrong_text_is_refused_with_what_is_needed(kind: Any, text: str, problem: str) -> None:
    """Every problem is a ValueError with words for a person."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - its text is compared
        conversion_of(kind).convert(text)
    assert str(caught.value).startswith(problem)


SPHINX = """Inspect the parts.

    More about it: not a parameter.

    :param number: how many parts there are,
        in all
    :param int first: the first one
    :raises ValueError: if there are none
    """
GOOGLE = """Inspect the parts.

    Args:
        number (int): how many parts there are,
            in all
        first: the first one

    Returns:
        good: how many are good
    """
NUMPY = """Inspect the parts.

    Parameters
    ----------
    number : int
        how many parts there are,
        in all
    first : int
        the first one

    Returns
    -------
    good : int
        how many are good
    """


@pytest.mark.parametrize("text", [SPHINX, GOOGLE, NUMPY])
def test_a_docstring_describes_parameters(text: str) -> None:
    """The styles of Sphinx, Google and NumPy; what is not about a parameter is left out."""
    assert descriptions(text) == {"number": "how many parts there are, in all", "first": "the first one"}
    assert summary(text) == "Inspect the parts."


def test_nothing_is_described_where_there_is_no_docstring() -> None:
    """None is what a function without one has."""
    assert (descriptions(None), summary(None)) == ({}, "")


@cs.task
def give(value: Any, more: Any = None) -> Any:
    return value


def test_the_parameters_of_a_function_are_those_that_a_caller_can_give() -> None:
    """With types from annotations, else from defaults; resources and inputs of the graph are none of them."""

    def made(  # type: ignore[no-untyped-def]
        number: int,
        scale: float = 1.5,
        *rest: int,
        verbose: bool = False,
        plain: Any = None,
        untyped=3,  # noqa: ANN001
        note: Annotated[str, "what to print"] = "",
        db: Any = cs.inject("db"),  # noqa: B008
        label: Any = cs.Param("label"),  # noqa: B008
        color: Color = Color.BLUE,
        **others: int,
    ) -> Any: ...

    found = {each.name: each for each in of_function(made)}
    assert list(found) == ["number", "scale", "verbose", "plain", "untyped", "note", "color"]
    assert [each.name for each in found.values() if each.required] == ["number"]
    assert found["untyped"].conversion.convert("4") == 4
    assert found["note"].description == "what to print"
    assert found["verbose"].boolean
    assert [each.shown_default for each in found.values()] == ["", "1.5", "false", "", "3", "", "2"]


def workflow(target: Any) -> Workflow:
    return workflow_of(target, "job.py:x")


def test_the_inputs_of_a_graph_are_parameters() -> None:
    """Each name once, without those from the environment; a converter of the user's own is called by the run only."""
    calls: list[Any] = []

    def own(text: Any) -> Any:
        calls.append(text)
        return text

    number = cs.Param("number", type=int, default=3, description="how many")
    made = workflow(
        give([number, number, cs.Env("HOME"), cs.Param("own", type=own), cs.Param("l", type=list)])
    )
    assert [(each.name, each.description) for each in made.parameters] == [
        ("number", "how many"),
        ("own", ""),
        ("l", ""),
    ]
    assert [each.conversion.convert("[1]") for each in made.parameters[1:]] == ["[1]", [1]]
    assert calls == []
    assert made.build({"own": "x", "l": [1]}) == (made.target, {"own": "x", "l": [1]})


def test_a_function_is_called_with_its_values_and_the_rest_are_inputs_of_its_graph() -> None:
    """Inputs of a graph that is not known in advance are converted late."""

    def made(number: int) -> Any:
        return give(number, cs.Param("scale", type=int))

    found = workflow(made)
    assert [each.name for each in found.parameters] == ["number"]
    target, values = found.build({"number": 3, "scale": "4"})
    assert values == {"scale": 4}
    result: Any = cs.run(target, values)
    assert result == 3
    with pytest.raises(CommandError, match="-p scale: needs a whole number, not 'x'"):
        found.build({"number": 3, "scale": "x"})


def test_the_inputs_of_a_function_without_required_parameters_are_known_in_advance() -> None:
    """So they are options, too; a function that fails then says so when it is run."""
    assert [each.name for each in workflow(lambda: give(cs.Param("scale"))).parameters] == ["scale"]

    def failing() -> Any:
        raise ValueError("no")

    assert workflow(failing).parameters == ()
    with pytest.raises(ValueError, match="no"):
        workflow(failing).build({})


@pytest.mark.parametrize(
    ("target", "values", "problem"),
    [
        (lambda: give(cs.Param("label")), {"labl": "x"}, "has no parameter 'labl'; did you mean 'label'?"),
        (lambda: give(1), {"q": "x"}, "has no parameter 'q'; it takes none"),
        (lambda: give(cs.Param("a", description="first")), {}, "needs a (first); pass -p a=..."),
        (lambda: 3, {}, "is not a workflow but of type int; a workflow is what a call"),
    ],
)
def test_what_cannot_be_built_is_refused(
    target: Callable[[], Any], values: dict[str, str], problem: str
) -> None:
    """Unknown with the nearest name, missing, or no workflow."""
    with pytest.raises(CommandError) as caught:
        workflow(target).build(values)
    assert problem in str(caught.value)
    assert caught.value.code == 2


async def coroutine() -> None: ...


@pytest.mark.parametrize("found", [3, "text", int, coroutine, [3], None])
def test_what_is_not_a_workflow_is_refused(found: Any) -> None:
    """Values, classes, coroutine functions, and lists of anything else."""
    with pytest.raises(CommandError, match="is not a workflow"):
        workflow(found)


def test_a_task_is_a_function_that_returns_a_lazy_result() -> None:
    """Its parameters are those of its function, async or not."""

    @cs.task
    async def load(name: str, times: int = 1) -> str:
        return name * times

    made = workflow(load)
    assert [each.name for each in made.parameters] == ["name", "times"]
    result: Any = cs.run(made.build({"name": "a", "times": 2})[0])
    assert result == "aa"
