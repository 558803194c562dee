"""These tests share a served page and a browser: they are found here."""

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser

sys.path.insert(0, str(Path(__file__).parent))

from browsing import Tabs, chromium

from cascade.testkit.brokers import Broker
from testing_tools.engines import Plant


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the developer names no broker to a test."""
    for name in ("BROKER", "MQTT_PASSWORD", "MQTT_PASSWORD_FILE", "MQTT_CA", "MQTT_CERT", "MQTT_KEY"):
        monkeypatch.delenv(f"CASCADE_{name}", raising=False)


@pytest.fixture
def plant(fresh_broker: Broker) -> Iterator[Plant]:
    """A broker for one test, and the engines that the test starts."""
    with Plant(fresh_broker) as made:
        yield made


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One browser for all tests of this process; each test has tabs of its own, in a context of its own."""
    async with chromium() as found:
        yield found


@pytest_asyncio.fixture(loop_scope="session")
async def tabs(browser: Browser) -> AsyncIterator[Tabs]:
    """The tabs of one test."""
    opened = Tabs(browser)
    yield opened
    await opened.close()
