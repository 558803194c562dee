"""The key under which the value of one call is kept. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cascade.interfaces import UncacheableArgumentError
from cascade.runtime.storage._digest import UndigestibleError, digest
from cascade.runtime.storage._fingerprint import fingerprint
from cascade.spec import TaskDefinition
from cascade.spec.caching import CachePolicy


def cache_key(
    policy: CachePolicy, definition: TaskDefinition, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> str:
    """Return the key of one call, whose arguments hold no lazy result any more.

    It is the same in every process for the same code, version and arguments, however they are
    passed: ``f(1, b=2)`` and ``f(1, 2)`` have one key.

    :raises UncacheableArgumentError: naming the argument of which no digest can be made.
    """
    try:
        code = fingerprint(definition.function)
    except UndigestibleError as exc:
        raise UncacheableArgumentError(
            definition.name, "function", str(exc), remedy="make a plain function the task"
        ) from None
    if policy.key is not None:
        given = [("key", _part(definition, "key", policy.key(*args, **kwargs)))]
    else:
        given = [
            (name, _part(definition, f"argument {name!r}", value))
            for name, value in bound_arguments(definition, args, kwargs).items()
        ]
    return digest((code, policy.version, policy.key is not None, given), fingerprint).hex()


def bound_arguments(
    definition: TaskDefinition, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Return each parameter with its argument or default.

    A builtin that does not tell its parameters has them by number.
    """
    if definition.signature is None:
        return {**{f"number {i}": value for i, value in enumerate(args, 1)}, **dict(sorted(kwargs.items()))}
    bound = definition.signature.bind(*args, **kwargs)
    bound.apply_defaults()
    return bound.arguments


def _part(definition: TaskDefinition, where: str, value: object) -> bytes:
    try:
        return digest(value, fingerprint)
    except UndigestibleError as exc:
        raise UncacheableArgumentError(definition.name, where, str(exc)) from None
