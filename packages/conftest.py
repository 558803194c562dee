"""What holds for the tests of all packages."""

import gc

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that have more time than others: none of them is left for the end, alone on its core."""
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what stays to the end: thousands of tests, and what they import."""
    gc.collect()
    gc.freeze()
