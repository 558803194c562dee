"""Inputs of a run: parameters and environment variables, converted and compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest

from cascade.interfaces import (
    ConfigurationError,
    InputsError,
)
from cascade.spec import (
    Env,
    Param,
    call_of,
    read_inputs,
)


def source(lazy: Any) -> Any:
    return cast("Any", call_of(lazy)).source


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", True),
        ("TRUE", True),
        (" yes\n", True),
        ("On", True),
        ("0", False),
        ("false", False),
        ("NO", False),
        ("off", False),
        (1, True),
        (0, False),
        (True, True),
        (False, False),
        ("", None),
        ("2", None),
        ("y", None),
    ],
)
def test_a_boolean_is_said_in_four_ways(text: object, value: bool | None) -> None:
    """In any case; anything else is refused, because every other text would be true."""
    flag = source(Param("flag", type=bool))
    if value is not None:
        assert read_inputs([flag], {"flag": text}, {}) == {flag: value}
    else:
        with pytest.raises(
            InputsError, match="cannot be converted: ValueError: it is not a boolean; write true or false"
        ):
            read_inputs([flag], {"flag": text}, {})


@pytest.mark.parametrize(
    ("one", "other", "differ"),
    [
        (Param("n"), Param("n"), ""),
        (Param("n", type=int), Param("n", type=int, description="of what"), ""),
        (Param("n", default=[1]), Param("n", default=[1]), ""),
        (Param("n", type=int), Param("n", type=float), "types"),
        (Param("n", default=1), Param("n"), "defaults"),
        (Param("n", default=1), Param("n", default=True), "defaults"),
        (Param("n", default=1), Param("n", default=2), "defaults"),
        (Param("n", default=np.ones(2)), Param("n", default=np.ones(2)), "defaults"),
        (Param("n", type=int, default=1), Param("n", default=2), "types and defaults"),
        (Env("n", default=1), Env("n", default=2), "defaults"),
    ],
)
def test_an_input_that_is_declared_twice_is_declared_alike(one: Any, other: Any, differ: str) -> None:
    """Two that differ would give one name two meanings; a default that cannot be compared differs."""
    sources = [source(one), source(other)]
    if differ:
        with pytest.raises(
            InputsError, match=f"declared twice with different {differ}: declare it once, and use that"
        ):
            read_inputs(sources, {"n": "1"}, {"n": "1"})
    else:
        assert len(read_inputs(sources, {"n": "1"}, {})) == 2


@pytest.mark.parametrize("kind", [Param, Env])
def test_an_input_needs_a_name_and_something_that_converts(kind: Callable[..., Any]) -> None:
    """The message names the class that the user wrote."""
    for wrong in ("", None, 3):
        with pytest.raises(ConfigurationError, match=rf"{kind.__name__}\(name\): needs a text, not"):
            kind(wrong)
    with pytest.raises(
        ConfigurationError, match=rf"{kind.__name__}\(type=\): needs a type or a function, not 'int'"
    ):
        kind("n", type="int")
    made = source(kind("n", default=None, description="of files"))
    assert (made.required, made.default, made.description, made.from_environment) == (
        False,
        None,
        "of files",
        kind is Env,
    )
