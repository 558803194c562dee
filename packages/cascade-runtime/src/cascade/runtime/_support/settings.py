"""Checks of the settings of an engine and of a run: refuse what cannot work, with the form that does."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from numbers import Real
from typing import Any, Literal, NamedTuple, get_args

from cascade.interfaces import ConfigurationError, Connector
from cascade.interfaces.events import RunLease, Tag
from cascade.interfaces.logs import mask_logs_with
from cascade.interfaces.redaction import Redactor
from cascade.interfaces.traces import read_traceparent

_METHODS = {
    "executor": ("run", "settle"),
    "cache_backend": ("get", "put"),
    "state_backend": ("open",),
    "bus": ("publish", "subscribe", "wants"),
    "clock": ("now", "monotonic"),
    "observer": ("follow",),
}
"""What an engine calls of the objects that it is given."""

# what an engine itself needs of one
_CONNECTOR = ("connect", "disconnect", "publish")

_REMEDIES = {
    "executor": "pass an executor, such as cs.ThreadExecutor(4) or cs.ProcessExecutor(4)",
    "cache_backend": "pass a cache, such as cs.SqliteCache('cache.db') or cs.MemoryCache()",
    "state_backend": "pass a state, such as cs.SqliteState('runs')",
    "bus": "pass a cs.EventBus()",
    "clock": "pass an object with now() and monotonic()",
    "observer": "pass observers, such as cascade.observers.otel.OtelObserver()",
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
        elif name == "observers":
            for each in _list(name, value, "observers=[OtelObserver()]"):
                _check_methods("observer", "observers", each)
        elif name == "resources":
            _list(name, value, "resources=[database]")
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
            "Engine(connector=)",
            f"{connector!r} is not a connector: it lacks {missing[0]}; make one with cs.connector('mqtt://broker')",
        )


def _check_middleware(middleware: object) -> None:
    """Refuse middleware that is not a list of callables."""
    for each in _list("middleware", middleware, "middleware=[around]"):
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


def _list(name: str, value: object, form: str) -> Sequence[Any]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ConfigurationError(f"Engine({name}=)", f"takes a list; write {form}, not {value!r}")
    return value


def _mapping(name: str, value: object, form: str, *, where: str = "Engine") -> Mapping[Any, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{where}({name}=)", f"takes a dict; write {form}, not {_short(value)}")
    return value


def _short(value: object) -> str:
    return repr(value) if isinstance(value, int | float | str | type) else type(value).__name__


LONGEST_TEXT = 200
"""Characters of a run's id, its name, and each of its tags, at most."""

MOST_TAGS = 32

_LARGE = 2**63  # readers of the messages may have integers of 64 bits


lease_of_runs: ContextVar[RunLease | None] = ContextVar("cascade lease of runs", default=None)
"""With which runs begin that are started in this context: a service sets it."""


class RunIdentity(NamedTuple):
    """One run's id, what observers see of it besides, and the workflow by which constraints cover it."""

    run_id: str
    name: str
    tags: Mapping[str, Tag]
    workflow: str = ""
    lease: RunLease | None = None
    """If the clock has started it with one."""
    traceparent: str = ""


def checked_identity(
    run_id: object, name: object, tags: object, workflow: object = None, traceparent: object = None
) -> RunIdentity:
    """Return what identifies a run; without an id it gets a random one.

    :raises ConfigurationError: naming the argument that cannot be used.
    """
    given_name = "" if name is None else _text("run(name=)", name)
    given_tags = checked_tags("run(tags=)", {} if tags is None else tags)
    checked_id = os.urandom(16).hex() if run_id is None else _text("run(run_id=)", run_id)
    given_workflow = "" if workflow is None else _text("run(workflow=)", workflow)
    return RunIdentity(
        checked_id, given_name, given_tags, given_workflow, lease_of_runs.get(), _trace(traceparent)
    )


def _trace(traceparent: object) -> str:
    if traceparent in (None, ""):
        return ""
    found = read_traceparent(traceparent) if isinstance(traceparent, str) else ""
    if not found:
        example = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        raise ConfigurationError("run(traceparent=)", f"needs a text such as {example}", value=traceparent)
    return found


def _text(setting: str, value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value.strip()) <= len(value) <= LONGEST_TEXT:
        raise ConfigurationError(setting, f"needs a text of 1 to {LONGEST_TEXT} characters", value=value)
    if not value.isprintable():
        raise ConfigurationError(setting, "must not contain control characters", value=value)
    return value


def checked_tags(setting: str, tags: object) -> dict[str, Tag]:
    """Return tags that observers can be shown; ``setting`` is how the user wrote them, as in ``run(tags=)``.

    :raises ConfigurationError: naming the setting.
    """
    if not isinstance(tags, Mapping):
        raise ConfigurationError(setting, "needs a dict from texts to texts, numbers or booleans", value=tags)
    if len(tags) > MOST_TAGS:
        raise ConfigurationError(setting, f"takes at most {MOST_TAGS} tags, not {len(tags)}")
    return {_text(setting, tag): _tag_value(setting, tag, value) for tag, value in tags.items()}


def _tag_value(argument: str, tag: str, value: object) -> Tag:
    setting = f"{argument[:-1]}{{{tag!r}: ...}})"
    if isinstance(value, str):
        return value if not value else _text(setting, value)
    if isinstance(value, int) and abs(value) < _LARGE:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise ConfigurationError(setting, "needs a text, a finite number or a boolean", value=value)


ResumeMode = Literal["auto", "cancelled"]
OnChange = Literal["refuse", "rerun", "keep"]
OnFailure = Literal["stop", "continue", "return"]


class ResumeRules(NamedTuple):
    """Which recorded runs may go on, and what happens to completed steps that have changed."""

    resume: ResumeMode = "auto"
    on_change: OnChange = "refuse"
    max_starts: int | None = 5
    """How often in a row the process may die in one step; None: however often."""
    forget_control: bool = False
    """Begin without the constraints that the last process obeyed."""


def checked_rules(
    resume: object, on_change: object, max_starts: object, forget_control: object
) -> ResumeRules:
    """Return the rules that the user gave.

    :raises ConfigurationError: naming the argument that cannot be used.
    """
    if resume not in get_args(ResumeMode):
        raise ConfigurationError("run(resume=)", f"needs 'auto' or 'cancelled', not {resume!r}")
    if on_change not in get_args(OnChange):
        raise ConfigurationError("run(on_change=)", f"needs 'refuse', 'rerun' or 'keep', not {on_change!r}")
    if max_starts is not None and (
        not isinstance(max_starts, int) or isinstance(max_starts, bool) or max_starts < 1
    ):
        raise ConfigurationError("run(max_starts=)", "needs a whole number from 1, or None", value=max_starts)
    return ResumeRules(resume, on_change, max_starts, bool(forget_control))  # type: ignore[arg-type]  # both were looked up
