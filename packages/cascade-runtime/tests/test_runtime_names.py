"""The names of the runtime: each is imported at its first use, from where it is."""

import pytest

import cascade.runtime


def test_a_name_that_does_not_exist_is_named() -> None:
    """With the module, as Python does."""
    with pytest.raises(AttributeError, match=r"module 'cascade\.runtime' has no attribute 'Enginex'"):
        getattr(cascade.runtime, "Enginex")  # noqa: B009 - a type checker knows that it is missing
    assert "Enginex" not in dir(cascade.runtime)
