"""Settings for the tests of all packages."""

import functools
import gc
import logging
import multiprocessing.process
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any

import pytest
import pytest_timeout
from hypothesis import HealthCheck, settings

from cascade.interfaces.topics import matches
from cascade.runtime._support.publish_queue import PublishQueue
from cascade.testkit.waiting import busyness
from testing_tools.suite_witness import UNHEARD, SuiteWitness
from testing_tools.wire_traffic import Traffic

# A busy machine is slow, which is not a fault of the code: no example has a time limit.
settings.register_profile("cascade", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("cascade")


class ProgramsNeedMarks:
    """A plugin: a test that starts a program or a process has a mark, or ``unit`` would not be quick."""

    def __init__(self) -> None:
        self._started: list[str] = []
        self._others: set[threading.Thread] = set()
        subprocess.Popen.__init__ = self._noted(subprocess.Popen.__init__)  # type: ignore[method-assign]
        process = multiprocessing.process.BaseProcess
        process.start = self._noted(process.start)  # type: ignore[method-assign]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, None, None]:
        """Fail a test without such a mark that has started one."""
        self._started.clear()
        self._others = {*threading.enumerate()} - {threading.current_thread()}
        yield
        if self._started and not any(item.get_closest_marker(each) for each in STARTING):
            pytest.fail(
                f"it called {self._started[0]}: mark it process, or broker if it needs one", pytrace=False
            )

    def _noted(self, start: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(start)
        def noted(*arguments: Any, **options: Any) -> None:
            # A thread that was there before the test may work for an earlier one.
            if threading.current_thread() not in self._others:
                self._started.append(start.__qualname__)
            start(*arguments, **options)

        return noted


class StartsWithin:
    """A plugin: a test that has not started within so many seconds is skipped, and counted with the reason."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def pytest_runtest_setup(self) -> None:
        """Skip a test for which no time is left."""
        if time.monotonic() > self._end:
            pytest.skip(f"left out, for the nightly run: not started within {self._seconds:g} s")


def restore_signals() -> None:
    """Handle SIGINT and SIGHUP as in a terminal, also in the background and below nohup.

    A shell without job control starts a background job with SIGINT ignored, nohup ignores SIGHUP. Child
    processes inherit that, so a test that sends the signal to one would wait for ever.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer a folder for pictures of cascade-web's page, and an end to what takes too long."""
    parser.addoption(
        "--start-within", metavar="SECONDS", type=float, help="skip the tests that have not started by then"
    )
    parser.addoption("--screenshots", metavar="FOLDER", help="keep pictures of cascade-web's page there")


def pytest_configure(config: pytest.Config) -> None:
    """Restore signals before any test starts a process, and log runs only where a test asks for it."""
    restore_signals()
    config.pluginmanager.register(ProgramsNeedMarks(), "cascade-programs-need-marks")
    if (seconds := config.getoption("start_within")) is not None:
        config.pluginmanager.register(StartsWithin(seconds), "cascade-starts-within")
    logging.getLogger("cascade.run").setLevel(logging.WARNING)  # pytest sets the root logger to INFO


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: pytest_timeout.Settings) -> object:
    """Give a test more time on a busy machine: its limit is there to end a hang."""
    longer = settings._replace(timeout=settings.timeout * busyness())
    return pytest_timeout.pytest_timeout_set_timer(item, longer)


WRONG_MESSAGES = {
    "test_no_will_is_seen_after_a_clean_end": ("a witness marks the end of what it sees", "cascade/status/+"),
}
"""Arguments of the marker for tests of the kit's suites, which other projects run without it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that have more time than others: none of them is left for the end, alone on its core."""
    for item in items:
        if (name := item.name.partition("[")[0]) in WRONG_MESSAGES:
            item.add_marker(pytest.mark.wrong_messages(*WRONG_MESSAGES[name]))
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what stays to the end: thousands of tests, and what they import."""
    gc.collect()
    gc.freeze()


STARTING = ("broker", "process", "nightly")
"""Marks of tests that may start a broker, or a program that starts one; no other test may (see :class:`ProgramsNeedMarks`)."""


@pytest.fixture(scope="session", autouse=True)
def witness() -> Iterator[SuiteWitness]:
    """Have every broker heard that the tests of this process or their programs start, to the end of the last of them."""
    made = SuiteWitness()
    made.start()
    yield made
    try:
        assert made.collect() == [], f"brokers delivered this after {made.test}"
    finally:
        made.stop()


@pytest.fixture(autouse=True)
def delivered(request: pytest.FixtureRequest, witness: SuiteWitness) -> Iterator[None]:
    """Check in every test that the AsyncAPI document describes what brokers deliver, of any publisher."""
    if any(request.node.get_closest_marker(each) for each in STARTING):
        witness.prepare()
    yield
    witness.test = request.node.nodeid
    exempt = [mark.args for mark in request.node.iter_markers("wrong_messages")]
    filters = [each for _, *names in exempt for each in names]
    if request.node.get_closest_marker("unheard"):
        filters.append(UNHEARD)
    wrong = [
        f"{topic}: {problem}"
        for topic, problem in witness.collect()
        if not any(matches(each, topic) for each in filters)
    ]
    if wrong:
        pytest.fail("a broker delivered\n" + "\n".join(wrong), pytrace=False)


@pytest.fixture(autouse=True)
def published(monkeypatch: pytest.MonkeyPatch) -> Iterator[Traffic]:
    """Check in every test that the AsyncAPI document describes what the engines of this process publish."""
    traffic = Traffic()
    publish = PublishQueue.publish

    def kept(
        queue: PublishQueue, topic: str, payload: Mapping[str, Any], qos: int = 0, *, retain: bool = False
    ) -> None:
        traffic.keep(topic, payload)
        publish(queue, topic, payload, qos, retain=retain)

    monkeypatch.setattr(PublishQueue, "publish", kept)
    yield traffic
    assert traffic.problems() == []
