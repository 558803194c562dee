"""Settings that random workflows need of the engine that runs them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from cascade.spec import Resource, inject, resource
from testing_tools.workflows.work import MOST_SLOTS

RESOURCES = {"shared": 3, "own": 4}
"""The values of the resources that steps ask for."""


class Needed:
    """Resources that know how many of them are open, and slots."""

    def __init__(self) -> None:
        self.open: list[str] = []
        """The resources that are still open."""

    def keywords(self) -> dict[str, Any]:
        """Return what an engine has to be given."""
        return {"system_resources": {"slots": MOST_SLOTS}, "resources": self._resources()}

    def _resources(self) -> list[Resource]:
        @resource
        async def shared() -> AsyncIterator[int]:
            with self._held("shared"):
                yield RESOURCES["shared"]

        @resource(scope="task")
        def own(shared: int = inject("shared")) -> Iterator[int]:
            with self._held("own"):
                yield shared + 1

        return [shared, own]

    @contextmanager
    def _held(self, name: str) -> Iterator[None]:
        self.open.append(name)
        try:
            yield
        finally:
            self.open.remove(name)
