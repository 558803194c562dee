"""Runs with a broker that is absent, silent or killed; each run is a process of its own.

The runs are on the event loop of ``cs.run``. The whole run with a broker that is killed halfway is measured on
asyncio's own loop too, for comparison: in its first half the broker's answers wake the loop, and each task
that sleeps then sleeps until a whole millisecond is over.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cascade.connectors.mqtt import MqttConnector
from cascade.testkit.brokers import Broker, start_broker
from figures.jobs import AT_A_TIME, Moments
from figures.measure import Settings, alternate, run
from figures.publish import TOPIC, message
from figures.table import Row, Target, at_most, no_more_above, no_more_than

TITLE = "runs whose broker fails, 8 tasks at a time; connecting and disconnecting are the engine's"

_FOLDER = Path(__file__).parents[1]
_MEBIBYTE = 1024 * 1024
_SHUTDOWN = no_more_than(3_000)
_WITHOUT = "no connector"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is the matter with the broker."""

    name: str
    before: Callable[[Broker], object]
    """Done to a running broker before the run."""
    halfway: Callable[[Broker], object] | None = None
    """Done when half of the tasks are done."""
    start: Target | None = None
    """How long the run may wait before it begins, in milliseconds."""


NO_CONNECTOR = Fault("none", Broker.kill)
FROM_THE_START = (
    Fault("refused", Broker.kill, start=no_more_than(100)),
    Fault("stalled", Broker.freeze, start=no_more_than(2_100)),
)
HALFWAY = Fault("killed halfway", Broker.start, halfway=Broker.kill)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run in its process."""

    moments: Moments
    halfway: float
    """When half of the tasks were done, in seconds since ``Engine.run`` was called."""
    peak: float
    """MB."""
    lost: int
    """Messages that the connector dropped."""

    @property
    def second_half(self) -> float:
        """Seconds from then to the result."""
        return self.moments.ready - self.halfway


def rows(settings: Settings) -> Iterator[Row]:
    """Measure runs of 1,000 tasks of 10 ms under each fault, and a disconnect on a stalled link."""
    n, rounds = settings.size(1_000), settings.rounds_or(3)
    with start_broker() as broker:
        faults = (NO_CONNECTOR, *FROM_THE_START, HALFWAY)
        sides = [partial(_outcome, fault, broker, n) for fault in faults]
        sides += [partial(_outcome, fault, broker, n, loop="asyncio") for fault in (NO_CONNECTOR, HALFWAY)]
        plain, *faulty, halfway, usual_plain, usual_halfway = run(alternate(rounds, *sides))
        for fault, outcomes in zip(FROM_THE_START, faulty, strict=True):
            yield _worked(f"{n:,} of 10 ms, broker {fault.name}", outcomes, plain, at_most(1.05))
            yield _started(fault, outcomes, plain)
            yield from _end(outcomes, plain)
        yield _second_half(f"{n:,} of 10 ms, killed halfway: the rest", halfway, plain)
        yield _worked("- the whole run", halfway, plain, at_most(1.05))
        yield _worked("- the same on asyncio's own loop", usual_halfway, usual_plain, None)
        yield from _end(halfway, plain)
        (taken,) = run(alternate(rounds, partial(_disconnect, broker)))
        yield Row("disconnect on a stalled link", "ms", taken, target=_SHUTDOWN)


def _worked(name: str, outcomes: Sequence[Outcome], plain: Sequence[Outcome], target: Target | None) -> Row:
    worked, alone = ([each.moments.worked for each in side] for side in (outcomes, plain))
    return Row(name, "s", worked, _WITHOUT, alone, target)


def _second_half(name: str, outcomes: Sequence[Outcome], plain: Sequence[Outcome]) -> Row:
    worked, alone = ([each.second_half for each in side] for side in (outcomes, plain))
    return Row(name, "s", worked, _WITHOUT, alone, at_most(1.05))


def _started(fault: Fault, outcomes: Sequence[Outcome], plain: Sequence[Outcome]) -> Row:
    started, at_once = ([each.moments.started * 1e3 for each in side] for side in (outcomes, plain))
    return Row("- until the first event", "ms", started, _WITHOUT, at_once, fault.start)


def _end(outcomes: Sequence[Outcome], plain: Sequence[Outcome]) -> Iterator[Row]:
    ours, theirs = ([each.moments for each in side] for side in (outcomes, plain))
    after, nothing = ([(each.returned - each.ready) * 1e3 for each in side] for side in (ours, theirs))
    yield Row("- from the result until run() returns", "ms", after, _WITHOUT, nothing, _SHUTDOWN)
    peaks, usual = ([each.peak for each in side] for side in (outcomes, plain))
    yield Row("- peak memory", "MB", peaks, _WITHOUT, usual, no_more_above(20))


async def _outcome(fault: Fault, broker: Broker, n: int, *, loop: str = "cascade") -> Outcome:
    broker.restart()
    fault.before(broker)
    port = 0 if fault is NO_CONNECTOR else broker.port
    return await run_alone(
        n, port, loop=loop, halfway=partial(fault.halfway, broker) if fault.halfway else None
    )


async def run_alone(
    n: int,
    port: int,
    *,
    loop: str = "cascade",
    at_a_time: int = AT_A_TIME,
    halfway: Callable[[], object] | None = None,
) -> Outcome:
    """Run ``n`` tasks in a process of its own.

    :param port: the broker's, 0 for no connector.
    :param halfway: called when half of the tasks are done.
    :raises RuntimeError: if the run fails.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "figures.programs.running", str(n), str(port), loop, str(at_a_time)),
        stdout=asyncio.subprocess.PIPE,
        cwd=_FOLDER,
    )
    assert process.stdout is not None
    await process.stdout.readline()
    if halfway is not None:
        halfway()
    line = await process.stdout.readline()
    if await process.wait() != 0:
        raise RuntimeError("a run has failed in its process")
    measured = json.loads(line)
    peak, middle, lost = measured.pop("peak") / _MEBIBYTE, measured.pop("halfway"), measured.pop("lost")
    return Outcome(peak=peak, halfway=middle, lost=lost, moments=Moments(**measured))


async def _disconnect(broker: Broker) -> float:
    broker.restart()
    connector = MqttConnector(broker.host, broker.port)
    await connector.connect()
    broker.freeze()
    made = message()
    for _ in range(1_000):
        await connector.publish(TOPIC, made, 1)
    began = time.perf_counter()
    await connector.disconnect()
    return (time.perf_counter() - began) * 1e3
