"""Refuse settings of an engine that cannot work, with the form that does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from cascade.interfaces import ConfigurationError, Connector
from cascade.interfaces.logs import mask_logs_with
from cascade.interfaces.redaction import Redactor

_METHODS = {
    "executor": ("run", "settle"),
    "cache_backend": ("get", "put"),
    "state_backend": ("open",),
    "bus": ("publish", "subscribe", "wants"),
    "clock": ("now", "monotonic"),
}
"""What an engine calls of the objects that it is given."""

_CONNECTOR = ("connect", "disconnect", "publish")  # what an engine itself needs of one

_REMEDIES = {
    "executor": "pass an executor, such as cs.ThreadExecutor(4) or cs.ProcessExecutor(4)",
    "cache_backend": "pass a cache, such as cs.SqliteCache('cache.db') or cs.MemoryCache()",
    "state_backend": "pass a state, such as cs.SqliteState('runs')",
    "bus": "pass a cs.EventBus()",
    "clock": "pass an object with now() and monotonic()",
}


def check_settings(*, connector: Any, middleware: object, outbox: object, **settings: Any) -> None:
    """Refuse what is not of the kind that an engine needs; what is None was not given.

    :raises ConfigurationError: naming the first wrong one, and the right form of it.
    """
    _check_connector(connector)
    _check_middleware(middleware)
    for name, value in settings.items():
        if name in _METHODS:
            _check_methods(name, name, value)
        elif name == "executors":
            for mode, executor in _mapping(name, value, "executors={'gpu': executor}").items():
                _check_methods("executor", f"executors[{mode!r}]", executor)
        elif name == "system_resources":
            _mapping(name, value, "system_resources={'gpu': 2}")
        elif name == "resources":
            if not isinstance(value, Sequence) or isinstance(value, str):
                raise ConfigurationError(f"Engine({name}=)", "takes a list; write resources=[database]")
        elif not isinstance(value, Real) or math.isnan(value) or value < 0:
            raise ConfigurationError(f"Engine({name}=)", f"needs seconds, such as 2.0, not {value!r}")
    _check_outbox(outbox, connector)


def check_params(params: object) -> None:
    """Refuse values for inputs that are not given by name.

    :raises ConfigurationError: with the right form.
    """
    _mapping("params", params, "params={'name': value}", where="run")


def _check_connector(connector: object) -> None:
    """Refuse what is not a connector."""
    if isinstance(connector, str):
        raise ConfigurationError(
            "Engine(connector=)", "takes a connector, not a URL; make one with cs.connector('mqtt://broker')"
        )
    if connector is None or isinstance(connector, type):
        missing = [] if connector is None else ["an instance"]
    else:
        missing = [name for name in _CONNECTOR if not callable(getattr(connector, name, None))]
    if missing:
        raise ConfigurationError(
            "Engine(connector=)", f"{connector!r} is not a connector: it lacks {missing[0]}"
        )


def _check_middleware(middleware: object) -> None:
    """Refuse middleware that is not a list of callables."""
    if not isinstance(middleware, Sequence) or isinstance(middleware, str):
        raise ConfigurationError(
            "Engine(middleware=)", f"takes a list; write middleware=[around], not {middleware!r}"
        )
    for each in middleware:
        if not callable(each):
            raise ConfigurationError(
                "Engine(middleware=)",
                f"{each!r} is not callable; write an async function around(step, call_next)",
            )


def _check_outbox(outbox: object, connector: Connector | None) -> None:
    """Refuse what is not an outbox, or one that cannot be used with this connector."""
    if outbox is None:
        return
    if not callable(check := getattr(outbox, "check", None)):
        raise ConfigurationError("Engine(outbox=)", f"takes cs.Outbox('events'), not {outbox!r}")
    check(connector)


def checked_redactor(redactor: Redactor | None) -> Redactor:
    """Return the redactor to use; it also masks log lines.

    :raises ConfigurationError: for anything that is not a redactor.
    """
    if redactor is None:
        return Redactor.DEFAULT
    if not isinstance(redactor, Redactor):
        raise ConfigurationError("Engine(redactor=)", f"takes a cs.Redactor, not {type(redactor).__name__}")
    mask_logs_with(redactor)
    return redactor


def _check_methods(kind: str, name: str, value: object) -> None:
    if value is None and name == kind:
        return
    if isinstance(value, type) or not all(callable(getattr(value, each, None)) for each in _METHODS[kind]):
        raise ConfigurationError(f"Engine({name}=)", f"{_REMEDIES[kind]}, not {_short(value)}")


def _mapping(name: str, value: object, form: str, *, where: str = "Engine") -> Mapping[Any, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{where}({name}=)", f"takes a dict; write {form}, not {_short(value)}")
    return value


def _short(value: object) -> str:
    return repr(value) if isinstance(value, int | float | str | type) else type(value).__name__
