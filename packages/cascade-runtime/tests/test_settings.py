"""What an engine and a run accept as settings, and what they refuse before anything starts."""

from typing import Any

import pytest
from simple_tasks import double

from cascade.interfaces import ConfigurationError
from cascade.runtime import Engine, EventBus, LocalConnector, ThreadExecutor
from cascade.runtime.cache import MemoryCache
from cascade.testing import ManualClock


class OneMethod:
    """Has the first method of each protocol that an engine asks for, but not the others."""

    def run(self) -> None: ...
    def get(self) -> None: ...
    def publish(self) -> None: ...
    def now(self) -> None: ...


@pytest.mark.parametrize("name", ["stop_timeout", "close_timeout"])
@pytest.mark.parametrize("seconds", [-0.5, float("nan"), "2", None, 1j])
def test_a_time_limit_that_is_no_number_of_seconds_is_refused(name: str, seconds: Any) -> None:
    """Also a number that no wait can use; the message names the setting."""
    with pytest.raises(ConfigurationError, match=rf"Engine\({name}=\): needs seconds"):
        Engine(**{name: seconds})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("executor", ThreadExecutor),
        ("executor", OneMethod()),
        ("cache_backend", MemoryCache),
        ("cache_backend", OneMethod()),
        ("state_backend", OneMethod()),
        ("bus", EventBus),
        ("bus", OneMethod()),
        ("clock", ManualClock),
        ("clock", OneMethod()),
        ("connector", LocalConnector),
        ("connector", OneMethod()),
        ("resources", "database"),
        ("resources", {"database": 1}),
        ("system_resources", [("gpu", 2)]),
        ("executors", [("gpu", ThreadExecutor(1))]),
        ("middleware", "around"),
        ("middleware", [None]),
        ("redactor", "secret"),
        ("outbox", "events"),
    ],
)
def test_a_class_or_what_lacks_a_method_is_refused(name: str, value: Any) -> None:
    """A class is not an instance of it, and an object with one of several methods is not enough."""
    with pytest.raises(ConfigurationError, match=rf"Engine\({name}=\)"):
        Engine(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("resume", "always"),
        ("resume", None),
        ("on_change", "ask"),
        ("on_failure", "ignore"),
        ("max_starts", 0),
        ("max_starts", True),
        ("max_starts", 2.0),
        ("params", [("x", 1)]),
    ],
)
async def test_an_argument_of_a_run_that_cannot_be_used_is_refused(name: str, value: Any) -> None:
    """Before the run has its first event; the engine can run afterwards, under the same id."""
    engine = Engine()
    events: list[Any] = []
    engine.bus.subscribe(object, events.append)
    with pytest.raises(ConfigurationError, match=rf"run\({name}=\)"):
        await engine.run(double(1), run_id="night", **{name: value})
    assert events == []
    assert await engine.run(double(1), run_id="night") == 2
