"""CachePolicy: what with_cache takes, and what it refuses in which words."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from cascade.interfaces import ConfigurationError, Hit
from cascade.spec import inject, task
from cascade.spec.caching import CachePolicy


class Backend:
    async def get(self, key: str) -> Hit | None:
        return None

    async def put(self, key: str, value: Any, *, ttl: float | None = None) -> None:
        pass

    async def close(self) -> None:
        pass


@task
def export(name: str, size: int = 3) -> Path:
    return Path(name)


async def key_later(name: str) -> str:
    return name


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"ttl": 1},
        {"ttl": 0.5, "key": len, "version": 2, "backend": Backend()},
        {"ignore": ("size", "log")},
        {"ignore": "size", "key": len},
        {"file": "out/{name}-{size:03}.csv"},
        {"file": Path("out") / "{name}.csv", "newer_than": "in/{name}.csv", "ttl": 60},
        {"file": lambda name: name, "newer_than": [Path("a"), lambda name: name]},
        {"file": "a", "newer_than": len},
        {"file": "{{name}}"},
        {"file": "{name.attribute}{size[0]}{name!r:>{size}}"},
    ],
)
def test_what_makes_sense_is_taken(settings: dict[str, Any]) -> None:
    """Also for a task that has the parameters, and one policy equals another of the same settings."""
    policy = CachePolicy(**settings)
    policy.check_for(export._definition)
    assert policy == CachePolicy(**settings)
    assert hash(policy) == hash(CachePolicy(**settings))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"ignore": ("a b",)}, r"ignore=\): needs names of parameters or variables, such as \('db',\), not"),
        ({"ignore": 3}, r"ignore=\): needs names"),
        ({"ignore": [3]}, r"ignore=\): needs names"),
        ({"file": "a", "ignore": "size"}, r"file=\): .* leave out ignore"),
        ({"ttl": 0}, r"ttl=\): needs a number of seconds above 0, not 0"),
        ({"ttl": float("inf")}, r"ttl=\): needs a number"),
        ({"ttl": True}, r"ttl=\): needs a number"),
        ({"ttl": "1h"}, r"ttl=\): needs a number"),
        ({"key": "name"}, r"key=\): needs a function of the task's arguments, not 'name'"),
        ({"key": key_later}, r"key=\): needs a plain function"),
        ({"version": 1.5}, r"version=\): needs a string or a whole number, not 1.5"),
        ({"version": True}, r"version=\): needs a string"),
        ({"backend": "cache.db"}, r"backend=\): needs get, put and close"),
        ({"file": ""}, r"file=\): needs a path"),
        ({"file": 5}, r"file=\): needs a path"),
        ({"file": "out/{name"}, r"file=\): 'out/\{name' is not a template"),
        ({"file": "out/{}.csv"}, r"file=\): 'out/\{\}.csv' has a field without a name"),
        ({"file": "out/{0}.csv"}, r"file=\): .* has a field without a name"),
        ({"file": "a", "key": len, "version": 1}, r"file=\): decides alone .* leave out key and version"),
        ({"file": "a", "backend": Backend()}, r"leave out backend"),
        ({"file": "a", "newer_than": 5}, r"newer_than=\): needs a path or a list"),
        ({"file": "a", "newer_than": [""]}, r"newer_than=\): needs a path"),
        ({"newer_than": "a"}, r"newer_than=\): needs file="),
    ],
)
def test_what_makes_no_sense_is_refused_where_it_is_declared(settings: dict[str, Any], words: str) -> None:
    """The message names the setting, what is wrong and what to write."""
    with pytest.raises(ConfigurationError, match=r"with_cache\(.*" + words.lstrip("^")):
        CachePolicy(**settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"file": "{nme}.csv"}, r"file=\): \{nme\} is not a parameter of task 'export'; it has name, size"),
        ({"file": "a", "newer_than": "{x.y}"}, r"newer_than=\): \{x\} is not a parameter"),
        ({"file": "{name:>{width}}"}, r"file=\): \{width\} is not a parameter"),
    ],
)
def test_a_template_that_names_no_parameter_is_refused(settings: dict[str, Any], words: str) -> None:
    """Before anything runs, with the parameters that there are."""
    with pytest.raises(ConfigurationError, match=words):
        CachePolicy(**settings).check_for(export._definition)


def test_a_builtin_that_does_not_tell_its_parameters_passes() -> None:
    """What cannot be known is not refused."""
    without_signature = dataclasses.replace(export._definition, signature=None)
    CachePolicy(file="{anything}").check_for(without_signature)


def test_a_policy_cannot_be_changed() -> None:
    """It is shared by every call of a task."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        CachePolicy().ttl = 5  # type: ignore[misc]


def test_a_resource_is_refused_when_the_cache_is_declared() -> None:
    """Its value cannot be compared; the message says what to write, and that is accepted."""

    @task
    def query(sql: str, db: Any = inject("db"), log: Any = inject("log")) -> object:  # noqa: B008 - the usual form
        return sql, db, log

    with pytest.raises(
        ConfigurationError, match=r"'db' of task 'query' gets a resource, .*ignore=\('log', 'db'\)"
    ):
        query.with_cache(ignore="log")
    for settings in ({"ignore": ("log", "db")}, {"key": lambda sql: sql}, {"file": "{sql}"}):
        assert query.with_cache(**settings)
