"""Parameters: from texts and JSON to values of their types, docstrings, schemas, inputs of a graph."""

import dataclasses
import datetime as dt
import enum
import functools
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import msgspec
import pytest

import cascade as cs
from cascade.interfaces import UsageError
from cascade.runtime.starting import Startable, conversion_of, descriptions, of_function, startable, summary


class Color(enum.Enum):
    RED = "red"
    BLUE = 2


class Odd:
    def __init__(self, text: str) -> None:
        raise RuntimeError(f"odd {text}")


class Own:
    """A class of the user's own."""

    def __init__(self, text: str) -> None:
        self.text = text


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (int, "-3", -3),
        (float, "1e3", 1000.0),
        (str, " a ", " a "),
        (Any, "3", "3"),
        *((bool, text, True) for text in ("1", "true", "yes", " ON ", "On")),
        *((bool, text, False) for text in ("0", "FALSE", "no", " Off ")),
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
        (frozenset, "[1, 1]", frozenset({1})),
        (Collection[int], "[1]", [1]),
        (Iterable[int], "[1]", [1]),
        (int | Literal["all"], "all", "all"),
        (functools.partial(int, base=2), "101", 5),
        (Sequence[str], '["a"]', ["a"]),
        (dict[str, int], '{"a": 1}', {"a": 1}),
        (Mapping, "{}", {}),
        (Annotated[int, "how many"], "3", 3),
        (lambda text: text * 2, "ab", "abab"),
    ],
)
def test_a_text_becomes_a_value_of_its_type(kind: Any, text: str, value: Any) -> None:
    """The types that people annotate, alone and in containers."""
    made = conversion_of(kind).from_text(text)
    assert (made, type(made)) == (value, type(value))


@pytest.mark.parametrize(
    ("kind", "text", "problem"),
    [
        (int, "x", "needs a whole number, not 'x'"),
        (float, "", "needs a number, not ''"),
        (bool, "perhaps", "needs true or false, not 'perhaps'"),
        (bool, "2", "needs true or false, not '2'"),
        (dt.date, "today", "needs a date such as 2026-11-21, not 'today'"),
        (dt.datetime, "now", "needs a time such as 2026-11-21T03:00, not 'now'"),
        (dict, "null", "needs a JSON object such as {\"a\": 1}, not 'null'"),
        (set, '{"a": 1}', "needs a JSON array such as [1, 2], not '{\"a\": 1}'"),
        (functools.partial(int, base=2), "2", "'2' cannot be converted (ValueError: invalid literal"),
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
        conversion_of(kind).from_text(text)
    assert str(caught.value).startswith(problem)


Limited = Annotated[int, msgspec.Meta(ge=1, le=100), "how many"]


@pytest.mark.parametrize(
    ("kind", "value", "made"),
    [
        (int, 3, 3),
        (float, 3, 3.0),
        (str, "x", "x"),
        (Any, [1], [1]),
        (bool, True, True),
        (Path, "a/b", Path("a/b")),
        (Decimal, "1.10", Decimal("1.10")),
        (dt.date, "2026-11-21", dt.date(2026, 11, 21)),
        (dt.datetime, "2026-11-21T03:00", dt.datetime(2026, 11, 21, 3)),  # noqa: DTZ001
        (Color, 2, Color.BLUE),
        (Literal["a", 3], 3, 3),
        (int | None, None, None),
        (int | dt.date, "2026-11-21", dt.date(2026, 11, 21)),
        (set[int], [1, 1], {1}),
        (Iterable[int], [1], [1]),
        (Mapping[str, int], {"a": 1}, {"a": 1}),
        (Limited, 100, 100),
    ],
)
def test_a_json_value_becomes_a_value_of_its_type(kind: Any, value: Any, made: Any) -> None:
    """A message and a form have numbers, booleans, lists and null; other types come as texts."""
    found = conversion_of(kind).from_json(value)
    assert (found, type(found)) == (made, type(made))


@pytest.mark.parametrize(
    ("kind", "value", "problem"),
    [
        (int, "3", "expected int, got str"),
        (int, True, "expected int, got bool"),
        (str, 3, "expected str, got int"),
        (bool, "yes", "expected bool, got str"),
        (dt.date, 3, "expected str, got int"),
        (dt.date, "today", "needs a date such as 2026-11-21, not 'today'"),
        (list[int], [1, "x"], "at [1]: expected int, got str"),
        (Literal["a", 1], True, "needs one of a, 1, not true"),
        (Color, "BLUE", 'needs one of red, 2, not "BLUE"'),
        (int | None, "x", "expected int, got str"),
        (Odd, "x", "'x' cannot be converted (RuntimeError: odd x)"),
        (Limited, 0, "expected int >= 1"),
        (dict[str, list[int]], {"a": [None]}, "at [...][0]: expected int, got null"),
    ],
)
def test_a_wrong_json_value_is_refused_with_its_place_and_the_type(
    kind: Any, value: Any, problem: str
) -> None:
    """Nothing is guessed: a text is no number, and a number is no truth."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - its text is compared
        conversion_of(kind).from_json(value)
    assert str(caught.value) == problem


def test_limits_hold_on_the_command_line_too() -> None:
    """One converter: what a form refuses, a shell does, too."""
    with pytest.raises(ValueError, match="expected int <= 100"):
        conversion_of(Limited).from_text("101")


@dataclasses.dataclass
class Point:
    x: int


def test_the_schema_describes_the_parameters_and_shows_no_secret() -> None:
    """Types, limits, choices, defaults and descriptions; a default that is a secret or not JSON is left out."""

    def made(
        number: Limited,
        day: dt.date | None = None,
        *,
        strict: bool = False,
        mode: Literal["fast", "good"] = "good",
        points: tuple[Point, ...] = (),
        api_token: str = "s3cr3t-abcdef",
        url: str = "mqtt://ada:pw@broker",
        odd: Any = object(),  # noqa: B008
    ) -> Any:
        """Make.

        :param strict: count doubtful ones, too
        """
        return give([number, cs.Param("scale", type=float, default=1.5)])

    schema = startable(made, "job.py:made").schema()
    assert schema["required"] == ["number"]
    assert schema["additionalProperties"], "the graph may take more"
    assert schema["properties"] == {
        "number": {"type": "integer", "minimum": 1, "maximum": 100, "description": "how many"},
        "day": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}], "default": None},
        "strict": {"type": "boolean", "default": False, "description": "count doubtful ones, too"},
        "mode": {"enum": ["fast", "good"], "default": "good"},
        "points": {"type": "array", "items": {"$ref": "#/$defs/Point"}, "default": []},
        "api_token": {"type": "string"},
        "url": {"type": "string"},
        "odd": {},
    }
    assert schema["$defs"]["Point"]["properties"] == {"x": {"type": "integer"}}
    assert not startable(lambda: give(cs.Param("a")), "x").schema()["additionalProperties"]


def test_all_problems_of_a_message_are_named_at_once() -> None:
    """Missing, unknown with the nearest, and wrong with the place."""
    take = startable(give([cs.Param("number", type=int), cs.Param("names", type=list, default=[])]), "job")
    assert take.converted({"number": 3}) == {"number": 3}
    with pytest.raises(UsageError) as caught:
        take.converted({"numbr": 3, "names": "x"})
    assert str(caught.value) == (
        "number is missing; no parameter 'numbr'; did you mean 'number'?; names: expected array, got str"
    )


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
    assert found["untyped"].conversion.from_text("4") == 4
    assert found["note"].description == "what to print"
    assert found["verbose"].boolean
    assert [each.shown_default for each in found.values()] == ["", "1.5", "false", "", "3", "", "2"]


def workflow(target: Any) -> Startable:
    return startable(target, "job.py:x")


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
    assert [each.conversion.from_text("[1]") for each in made.parameters[1:]] == ["[1]", [1]]
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
    with pytest.raises(UsageError, match="-p scale: needs a whole number, not 'x'"):
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
    with pytest.raises(UsageError) as caught:
        workflow(target).build(values)
    assert problem in str(caught.value)


async def coroutine() -> None: ...


@pytest.mark.parametrize("found", [3, "text", int, coroutine, [3], None])
def test_what_is_not_a_workflow_is_refused(found: Any) -> None:
    """Values, classes, coroutine functions, and lists of anything else."""
    with pytest.raises(UsageError, match="is not a workflow"):
        workflow(found)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (":param a: one\nnot about a", {"a": "one"}),
        (":param a: one\n    more\n  less\nelse", {"a": "one more less"}),
        (":param a: one\n\n    behind a gap", {"a": "one"}),
        (":param a: one\n    :type a: int\n    more", {"a": "one"}),
        (":param a: one\n:returns: b\n:param c: two", {"a": "one", "c": "two"}),
        (":param dict[str, int] a: one", {"a": "one"}),
        (":param a:\n    below", {"a": "below"}),
        ("Args:\n    a: one\n    b (int): two\n        more: of it\nReturns:\n    c: three", {"a": "one", "b": "two more: of it"}),
        ("Arguments\n    a: one\nRaises:\n    b: two\nParameters:\n    c: three", {"a": "one", "c": "three"}),
        ("Parameters\n----------\na : int\n    one\nb : str\n    two\n\nNotes\n-----\nc : d\n    e", {"a": "one", "b": "two"}),
        ("a: one", {}),
        ("Parameters\n----------\nb : int\n    two\n:param a: one", {"a": "one", "b": "two"}),
        (":param a: one\n:param a: two", {"a": "one"}),
        (":param first: one\n  Args:\n    b: two", {"first": "one", "b": "two"}),
    ],
)  # fmt: skip
def test_a_description_ends_where_its_text_does(text: str, found: dict[str, str]) -> None:
    """A line that stands deeper goes on; one that does not, an empty one and another field end it."""
    assert descriptions(f"Summary.\n\n{text}\n") == found


@pytest.mark.parametrize(
    ("docstring", "line"),
    [
        ("One.", "One."),
        ("One\n    and  more.\n\n    Two.", "One and  more."),
        (":param a: no summary", ""),
        ("One.\n:param a: no part of it", "One."),
        ("", ""),
    ],
)
def test_a_summary_is_the_first_paragraph_without_fields(docstring: str, line: str) -> None:
    """On one line."""
    assert summary(docstring) == line


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (int, "int"),
        (float, "float"),
        (bool, "bool"),
        (str, "text"),
        (Path, "path"),
        (PurePosixPath, "path"),
        (Own, "Own"),
        (dt.date, "date"),
        (dt.datetime, "datetime"),
        (Literal["a", 3], "a|3"),
        (int | None, "int"),
        (int | Literal["all"], "int|all"),
        (list[int], "JSON array"),
        (frozenset, "JSON array"),
        (Collection[int], "JSON array"),
        (Iterable[int], "JSON array"),
        (dict, "JSON object"),
        (Mapping[str, int], "JSON object"),
        (json.loads, "loads"),
        (lambda text: text, "value"),
        (functools.partial(int, base=2), "value"),
    ],
)
def test_the_help_names_each_type(kind: Any, name: str) -> None:
    """By a word that says what to write."""
    assert conversion_of(kind).name == name


def test_a_description_may_stand_in_the_annotation() -> None:
    """As a text, or in an object such as typing_extensions.Doc; it comes before that of the docstring."""
    doc = SimpleNamespace(documentation="how many")

    def made(a: Any, b: Any, c: Any, d: Any) -> None:
        """Make.

        :param a: not this
        :param c: this
        """

    made.__annotations__ = {
        "a": Annotated[int, 3, doc, "second"],
        "b": Annotated[int, "first", doc],
        "c": Annotated[int, 3],
        "d": int,
    }
    assert [each.description for each in of_function(made)] == ["how many", "first", "this", ""]
