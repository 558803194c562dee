"""What an engine and a run accept as settings, and what they refuse before anything starts."""

from typing import Any

import pytest
from simple_tasks import double

from cascade.interfaces import ConfigurationError
from cascade.runtime import Engine, EventBus, LocalConnector, LocalHub, ThreadExecutor
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


@pytest.mark.parametrize("name", ["stop_timeout", "close_timeout"])
@pytest.mark.parametrize("seconds", [0, 0.0, 1, 1.5, float("inf")])
async def test_no_time_at_all_and_any_time_are_accepted(name: str, seconds: float) -> None:
    """0 means that a run does not wait; an infinite limit, that it waits for ever."""
    engine = Engine(**{name: seconds})  # type: ignore[arg-type]
    assert await engine.run(double(1)) == 2


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


@pytest.mark.parametrize("executor", [None, ThreadExecutor, OneMethod()])
def test_each_executor_of_a_dict_is_looked_at(executor: Any) -> None:
    """None stands for no executor only where one is optional; the message names the mode."""
    with pytest.raises(ConfigurationError, match=r"Engine\(executors\['gpu'\]=\): pass an executor"):
        Engine(executors={"cpu": ThreadExecutor(1), "gpu": executor})


async def test_what_the_protocols_ask_for_is_accepted() -> None:
    """Tuples as well as lists, empty ones, and None for whatever is optional."""
    engine = Engine(
        connector=LocalConnector(LocalHub()),
        executor=ThreadExecutor(1),
        executors={},
        resources=(),
        system_resources={},
        middleware=(),
        cache_backend=MemoryCache(),
        bus=EventBus(),
        clock=ManualClock(),
        redactor=None,
        outbox=None,
        labels=None,
        logs=None,
    )
    assert await engine.run(double(1), None) == 2


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


@pytest.mark.parametrize(
    "options",
    [
        {"resume": "auto", "on_change": "refuse", "max_starts": 1},
        {"resume": "cancelled", "on_change": "rerun", "max_starts": None},
        {"on_change": "keep", "on_failure": "continue", "forget_control": True},
        {"run_id": "x" * 200, "name": "n" * 200, "tags": {f"t{n}": n for n in range(32)}},
        {"tags": {"t" * 200: "v" * 200, "empty": "", "most": 2**63 - 1, "least": 1 - 2**63, "no": False}},
    ],
)
async def test_the_largest_and_rarest_arguments_of_a_run_are_accepted(options: Any) -> None:
    """The bounds that the messages name are allowed themselves."""
    assert await Engine().run(double(1), **options) == 2


def test_the_labels_of_an_engine_are_tags() -> None:
    """They are refused by the same rules, under their own name."""
    with pytest.raises(ConfigurationError, match=r"Engine\(labels="):
        Engine(labels={"site": None})  # type: ignore[dict-item]
    with pytest.raises(ConfigurationError, match=r"Engine\(labels="):
        Engine(labels=["site"])  # type: ignore[arg-type]
