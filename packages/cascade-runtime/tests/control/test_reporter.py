"""What the reporter logs, and when it publishes, on a clock that the test advances."""

import logging

import pytest
from control_parts import (
    COMPLETE_LIMIT,
    ActiveRun,
    PublishQueue,
    Registers,
    Reporter,
    Sync,
    SyncLog,
    WatchedState,
)
from fakes import FakeClock

from cascade.interfaces import Complete, Payload
from cascade.runtime import LocalConnector


class Sent(LocalConnector):
    """A connector that keeps what is published, by the kind of the report."""

    def __init__(self) -> None:
        super().__init__()
        self.at: list[tuple[str, bool]] = []
        self.up: list[object] = []
        """What each summary says of the engine."""

    def publish_nowait(self, topic: str, payload: Payload, qos: int = 0, *, retain: bool = False) -> None:
        self.at.append((topic.rpartition("/")[2], retain))
        if topic.endswith("/summary"):
            self.up.append((payload or {})["up"])


class Bench:
    """A reporter whose sync the test controls."""

    def __init__(self, *, named: bool = False, disconnects: bool = False) -> None:
        self.clock = FakeClock()
        self.sent = Sent()
        self.registers = Registers(self.clock)
        self.sync = Sync(self.registers, named=True, clock=self.clock)
        self.reporter = Reporter(
            PublishQueue(self.sent, content="constraint reports", logger=logging.getLogger()),
            registers=self.registers,
            sync=self.sync,
            clock=self.clock,
            source="me",
            session="s",
            retain=named,
            running=lambda: 0,
            presence=lambda: None,
            watched=WatchedState(self.clock, connector=self.sent, retained=named),
            disconnects=lambda: disconnects,
        )
        self.log = SyncLog("me", clock=self.clock)
        self.sync.opened()

    def begin_run(self) -> ActiveRun:
        run = ActiveRun("r1", "add", 0.0)
        self.reporter.begin(run)
        self.reporter.check()
        self.reporter.publish_begin()
        self.reporter.check_runs()
        return run

    def seconds_of(self, kind: str, seconds: float) -> list[float]:
        """Return when, on the clock, the reporter publishes a kind of report within so many seconds."""
        found: list[float] = []
        end = self.clock.ticks + seconds
        while (due := self.reporter.due()) is not None and due <= end:
            self.clock.ticks = max(self.clock.ticks, due)
            self.sent.at.clear()
            self.reporter.publish_due()
            self.reporter.check()
            self.reporter.check_runs()
            found += [round(self.clock.ticks, 1) for each, _ in self.sent.at if each == kind]
        self.clock.ticks = end
        return found

    def wait_for_the_set(self) -> None:
        self.clock.ticks += COMPLETE_LIMIT
        self.sync.tick()
        self.reporter.check()
        self.log.check(self.sync)


@pytest.mark.parametrize(("named", "sent"), [(True, ["runs"]), (False, [])])
def test_a_run_is_named_at_once_for_who_comes_after_a_kill(*, named: bool, sent: list[str]) -> None:
    """Once, and with the first link where there is none yet; a broker that keeps nothing gets it when it is due."""
    bench = Bench(named=named)
    bench.begin_run()
    assert bench.sent.at == []
    bench.sync.linked()
    for _ in range(2):
        bench.reporter.publish_begin()
        assert [kind for kind, _ in bench.sent.at] == sent
    bench.reporter.begin(ActiveRun("r2", "add", 0.0))
    bench.reporter.publish_begin()
    assert [kind for kind, _ in bench.sent.at] == sent


def levels(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.levelname for record in caplog.records]


def test_a_failing_sync_is_logged_once_also_after_a_late_link(caplog: pytest.LogCaptureFixture) -> None:
    """Without a link nothing is logged, because the connector does that; with a link one warning, then the recovery."""
    caplog.set_level(logging.INFO)
    bench = Bench()
    bench.wait_for_the_set()
    assert levels(caplog) == []
    bench.sync.linked()
    bench.log.check(bench.sync)
    assert levels(caplog) == []
    for _ in range(3):
        bench.wait_for_the_set()
        bench.sync.lost()
        bench.sync.linked()
    assert levels(caplog) == ["WARNING"]
    assert "does not answer" in caplog.text
    bench.sync.complete(Complete(proved=True, topics=frozenset()))
    bench.log.check(bench.sync)
    assert levels(caplog) == ["WARNING", "INFO"]


@pytest.mark.parametrize("named", [False, True])
def test_a_graph_without_a_node_replaces_only_what_an_earlier_process_may_have_left(named: bool) -> None:
    """It shows nothing; a named engine still publishes it once, and the graph follows with its first node."""
    bench = Bench(named=named)
    bench.sync.linked()
    run = bench.begin_run()
    assert len(bench.seconds_of("graph", 5)) == named
    run.facts.graph.add_call("add", "add", "call")
    bench.reporter.runs.touch()
    bench.reporter.check_runs()
    assert bench.seconds_of("graph", 5) != []


def test_reports_wait_for_a_link_and_the_last_ones_do_not_once_there_was_one() -> None:
    """Without any report so far there is nothing to replace."""
    bench = Bench(named=True)
    bench.begin_run()
    bench.clock.ticks += 60
    assert bench.reporter.due() is None
    bench.reporter.publish_due()
    bench.reporter.publish_end()
    bench.reporter.publish_last()
    bench.reporter.publish_down(stopped=True)
    assert bench.sent.at == []
    bench.sync.linked()
    bench.reporter.publish_due()
    bench.sync.lost()
    bench.sent.at.clear()
    bench.reporter.publish_last()
    assert ("constraints", True) in bench.sent.at
    bench.sent.at.clear()
    bench.reporter.publish_down(stopped=False)
    assert "constraints" not in {kind for kind, _ in bench.sent.at}
    bench.reporter.publish_down(stopped=True)
    assert ("constraints", True) in bench.sent.at
