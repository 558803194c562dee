"""For the mutants of a contract suite that have no fake clock."""

from typing import Any

import pytest


class FailsByWaiting:
    """The one test that is to fail waits for what never comes: only its time limit is short.

    With a short limit in each test, a slow machine would fail another one.
    """

    fault: str
    """The name of that test."""

    timeout: Any

    @pytest.fixture(autouse=True)
    def _be_quick_where_it_fails(self, request: pytest.FixtureRequest) -> None:
        if request.node.originalname == self.fault:
            self.timeout = 1.0
