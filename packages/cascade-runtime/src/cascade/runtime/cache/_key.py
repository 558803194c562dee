"""The key under which the value of one call is stored. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import Parameter
from typing import Any

from cascade.interfaces import ConfigurationError, UncacheableArgumentError
from cascade.runtime.cache._digest import digest
from cascade.runtime.cache._fingerprint import Fingerprints
from cascade.runtime.cache._library_values import UndigestibleError
from cascade.spec import TaskDefinition
from cascade.spec.caching import CachePolicy

_PLAIN = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.POSITIONAL_ONLY)
"""Kinds of parameters that take one argument by its position."""


def cache_key(
    policy: CachePolicy, definition: TaskDefinition, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> str:
    """Return the key of one call; its arguments are values, no lazy results.

    The key is the same in every process for the same code, version and arguments, however the
    arguments are passed: ``f(1, b=2)`` and ``f(1, 2)`` have the same key.

    :raises UncacheableArgumentError: if an argument or a variable that the code uses has no
        digest; the error names it.
    :raises ConfigurationError: if ``ignore`` names neither a parameter nor a variable of the code.
    """
    fingerprints = Fingerprints(definition.function, ignore=policy.ignore)
    code = _code(definition, fingerprints)
    if policy.key is not None:
        parts = [("key", _chosen_key(definition, policy.key(*args, **kwargs), fingerprints))]
    else:
        parts = [
            (name, _argument(definition, name, value, fingerprints))
            for name, value in bound_arguments(definition, args, kwargs).items()
            if name not in policy.ignore
        ]
    if policy.ignore:
        _check_ignored(policy, definition, fingerprints.names)
    return digest((code, policy.version, policy.key is not None, parts), fingerprints).hex()


def bound_arguments(
    definition: TaskDefinition, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Return each parameter with its argument or default.

    A builtin without a signature gets its positional arguments by number.
    """
    if definition.signature is None:
        return {**{f"number {i}": value for i, value in enumerate(args, 1)}, **kwargs}
    parameters = definition.signature.parameters
    if (
        not kwargs
        and len(args) == len(parameters)
        and all(each.kind in _PLAIN for each in parameters.values())
    ):
        # as bind() does, in a fraction of its time
        return dict(zip(parameters, args, strict=True))
    bound = definition.signature.bind(*args, **kwargs)
    bound.apply_defaults()
    return bound.arguments


def _code(definition: TaskDefinition, fingerprints: Fingerprints) -> bytes:
    try:
        return fingerprints.of_task()
    except UndigestibleError as exc:
        raise _refusal(definition, "function", exc, "make a plain function the task") from None


def _argument(definition: TaskDefinition, name: str, value: object, fingerprints: Fingerprints) -> bytes:
    try:
        return digest(value, fingerprints)
    except UndigestibleError as exc:
        remedy = (
            f"{_ignore_advice(name)}, or with_cache(key=...) with a function of the arguments "
            "that returns plain values"
        )
        raise _refusal(definition, f"argument {name!r}", exc, remedy) from None


def _chosen_key(definition: TaskDefinition, value: object, fingerprints: Fingerprints) -> bytes:
    try:
        return digest(value, fingerprints)
    except UndigestibleError as exc:
        raise _refusal(definition, "key", exc, "return plain values from the function key=") from None


def _refusal(
    definition: TaskDefinition, where: str, error: UndigestibleError, remedy: str
) -> UncacheableArgumentError:
    """Return the error for the caller; it names a variable that is the cause instead of ``where``."""
    if error.variable:
        where, remedy = error.place, _ignore_advice(error.variable)
    return UncacheableArgumentError(definition.name, where, error.problem, remedy=remedy)


def _ignore_advice(name: str) -> str:
    return f"if the result does not depend on it, write with_cache(ignore=({name!r},))"


def _check_ignored(policy: CachePolicy, definition: TaskDefinition, names: set[str]) -> None:
    parameters = definition.signature.parameters if definition.signature is not None else {}
    for name in policy.ignore:
        if name not in parameters and name not in names:
            problem = f"{name!r} is neither a parameter of task {definition.name!r} nor a variable that its code uses"
            raise ConfigurationError("with_cache(ignore=)", problem)
