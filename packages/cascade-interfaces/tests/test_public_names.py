"""The names that ``cascade.interfaces`` offers."""

from importlib import import_module

import pytest

import cascade.interfaces

_ALIASES = {"Event", "MessageCallback", "Middleware", "Payload", "Tag", "WatchItem"}
"""Their ``__module__`` is not that of the module that defines them."""


@pytest.mark.parametrize("module", [each for each in cascade.interfaces._MODULES if each != "wire"])
def test_the_package_offers_the_public_names_of_its_modules(module: str) -> None:
    """A type checker reads them from the modules, Python from a table: both lists are the same."""
    found = import_module(f"cascade.interfaces.{module}")
    defined = {
        name for name, value in vars(found).items() if getattr(value, "__module__", None) == found.__name__
    }
    listed = set(cascade.interfaces._MODULES[module].split())
    assert {name for name in defined if not name.startswith("_")} == listed - _ALIASES
    assert [name for name in listed if not hasattr(found, name)] == []


def test_every_name_can_be_imported_and_no_other() -> None:
    """All that ``__all__`` promises; a misspelt name is an AttributeError."""
    package = import_module("cascade.interfaces")
    assert all(getattr(package, name) is not None for name in package.__all__)
    with pytest.raises(AttributeError, match="Conector"):
        _ = package.Conector
