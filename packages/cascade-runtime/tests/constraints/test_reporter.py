"""What the reporter says in the log: each change of state once, and nothing that others say."""

import logging

import pytest
from stand_ins import FakeClock

from cascade.interfaces import Message
from cascade.runtime import LocalConnector
from cascade.runtime.constraints._publisher import Publisher
from cascade.runtime.constraints._reporter import Reporter
from cascade.runtime.constraints.registers import Registers
from cascade.runtime.constraints.sync import ECHO_LIMIT, Sync


class Bench:
    """A reporter whose sync is played by the test."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.registers = Registers(self.clock)
        self.sync = Sync(self.registers, source="me", token="mine", clock=self.clock)
        self.reporter = Reporter(
            Publisher(LocalConnector()),
            registers=self.registers,
            sync=self.sync,
            clock=self.clock,
            source="me",
            session="s",
            retain=False,
            running=lambda: 0,
        )
        self.sync.opened()

    def wait_in_vain(self) -> None:
        self.clock.ticks += ECHO_LIMIT
        self.sync.tick()
        self.reporter.note()


def levels(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.levelname for record in caplog.records]


def test_control_that_never_works_is_told_of_also_after_a_late_link(caplog: pytest.LogCaptureFixture) -> None:
    """Without a link that is not the broker's doing; with one it is, and is said once, and so is its end."""
    caplog.set_level(logging.INFO)
    bench = Bench()
    bench.wait_in_vain()
    assert levels(caplog) == []
    bench.sync.linked()
    bench.reporter.note()
    assert levels(caplog) == []
    for _ in range(3):
        bench.wait_in_vain()
        bench.sync.opened()
        nonce = bench.sync.linked()
    assert levels(caplog) == ["WARNING"]
    assert "does not answer" in caplog.text
    bench.sync.hear(Message(nonce, b"{}", retain=False))
    bench.reporter.note()
    assert levels(caplog) == ["WARNING", "INFO"]
