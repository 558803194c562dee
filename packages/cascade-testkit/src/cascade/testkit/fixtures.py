"""pytest fixtures, found by pytest itself wherever this package is installed.

``broker`` is shared by a whole session: use :func:`unique_topic` beside it and leave it as it
was. ``fresh_broker`` belongs to one test, which may kill it. On Windows tests get a selector loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import sys
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping

import pytest
import pytest_asyncio

from cascade.testkit.brokers import Broker, Mosquitto, NatsServer, start_broker
from cascade.testkit.leaks import no_leaks as leaving_nothing
from cascade.testkit.naming import unique_topic

# The suites' assertions show what they compared, also where this package was installed from a wheel.
pytest.register_assert_rewrite("cascade.testkit._contract", "cascade.testkit._executor")

_LOG_LINES = 60
_LEAK_SECONDS = 30.0
_LOOPBACK = "127.0.0.1"
_SEED = "CASCADE_TEST_SEED"


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """A running broker for the whole session: mosquitto, else nats-server."""
    with start_broker() as shared:
        yield shared


@pytest.fixture
def fresh_broker() -> Iterator[Broker]:
    """A running broker for one test alone, which may kill, freeze and restart it."""
    with start_broker() as own:
        yield own


@pytest.fixture(scope="session")
def mosquitto() -> Iterator[Broker]:
    """A running mosquitto for the whole session; skips where it is not installed, but fails in CI."""
    require_mosquitto()
    with Mosquitto() as shared:
        yield shared


@pytest.fixture(scope="session")
def nats_server() -> Iterator[NatsServer]:
    """A running nats-server for the whole session."""
    with NatsServer() as shared:
        yield shared


@pytest.fixture
def seeded_random() -> random.Random:
    """Chance that can be repeated: its seed is printed, and taken from ``CASCADE_TEST_SEED`` where that is set."""
    seed = int(os.environ.get(_SEED, random.randrange(2**32)))
    print(f"to repeat this: {_SEED}={seed}")  # noqa: T201 - pytest shows it with a test that fails
    return random.Random(seed)


@pytest.fixture
def topic() -> str:
    """A topic that no other test uses."""
    return unique_topic()


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of this machine that refuses connections; it is bound, so that no other program takes it."""
    with socket.socket() as bound:
        bound.bind((_LOOPBACK, 0))
        yield bound.getsockname()[1]


@pytest.fixture
def swallowing_port() -> Iterator[int]:
    """A port of this machine that answers nothing at all: its queue of connections is full (on Linux)."""
    with socket.socket() as full, contextlib.ExitStack() as stack:
        full.bind((_LOOPBACK, 0))
        full.listen(0)
        for filler in [stack.enter_context(socket.socket()) for _ in range(4)]:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        yield full.getsockname()[1]


@pytest_asyncio.fixture
async def no_leaks() -> AsyncIterator[None]:
    """Fail the test if it leaves a task, a thread, a socket or an open file behind."""
    async with leaving_nothing(_LEAK_SECONDS):
        yield


def require_mosquitto() -> None:
    """Skip the test if mosquitto is not installed; in CI (``CI`` is set) fail instead."""
    if Mosquitto.find() is not None:
        return
    message = f"mosquitto is not installed: {Mosquitto.remedy()}"
    if os.environ.get("CI"):
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


class SelectorLoops:
    """A plugin that gives every asynchronous test a selector loop; the hook of a conftest comes before it."""

    @pytest.hookimpl(trylast=True)
    def pytest_asyncio_loop_factories(self) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
        """Name the one kind of loop, which a connector for MQTT needs: the Proactor loop cannot watch sockets."""
        return {"selector": asyncio.SelectorEventLoop}


def pytest_configure(config: pytest.Config) -> None:
    """Use selector loops on Windows, where asyncio's default is another."""
    if sys.platform == "win32":
        config.pluginmanager.register(SelectorLoops(), "cascade-selector-loops")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the log of every broker that a failed test had as a fixture."""
    report = yield
    if report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            if isinstance(value, Broker):
                report.sections.append((f"log of {name}", _tail(value.log)))
    return report


def _tail(log: str) -> str:
    return "\n".join(log.splitlines()[-_LOG_LINES:])
