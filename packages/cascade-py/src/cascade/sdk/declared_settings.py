"""Settings of a run that a file declares for whoever starts it: ``cascade run``, or the file's own command line."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Unpack

from cascade.sdk.run import refuse_unknown, signature_of_run
from cascade.sdk.run_settings import Settings

if TYPE_CHECKING:
    from cascade.sdk.run_settings import AllSettings

NAME = "settings"
"""Under which a file declares them."""


class DeclaredSettings(Mapping[str, Any]):
    """What :func:`settings` returns: keywords of ``cs.run`` with their values."""

    __slots__ = ("_given",)

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = dict(given)

    def __getitem__(self, name: str) -> Any:
        return self._given[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._given)

    def __len__(self) -> int:
        return len(self._given)

    def __repr__(self) -> str:
        # values may be secrets
        return f"settings({', '.join(f'{name}=...' for name in self._given)})"


def settings(**settings: Unpack[AllSettings]) -> DeclaredSettings:
    """Declare settings of a run in a file, as ``settings = cs.settings(resources=[database], cache="cache.db")``.

    ``cascade run FILE.py`` and ``cs.main`` in that file run with them; an option of the command line
    wins over the setting of the same meaning. They are the keywords of :func:`cascade.run`, with
    ``params``, ``system_resources`` and ``connector``.

    :raises TypeError: if a setting does not exist, with the nearest one.
    """
    refuse_unknown("settings", settings.keys(), KEYWORDS)
    return DeclaredSettings(settings)


def declared_in(module: object) -> Mapping[str, Any]:
    """Return what a module declares; nothing if its ``settings`` are something else."""
    found = getattr(module, NAME, None)
    return found if isinstance(found, DeclaredSettings) else {}


KEYWORDS = ("params", "system_resources", "connector", *Settings.__annotations__)


def _signature() -> inspect.Signature:
    of_run = signature_of_run()
    kept = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, each in of_run.parameters.items()
        if name in KEYWORDS
    ]
    return of_run.replace(parameters=kept, return_annotation=DeclaredSettings)


settings.__signature__ = _signature()  # type: ignore[attr-defined]
