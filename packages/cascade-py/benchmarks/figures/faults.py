"""What a run feels of a broker that is absent, silent or killed; each run is a process of its own."""

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
from figures.jobs import Moments
from figures.measure import Settings, alternate, run
from figures.publish import TOPIC, message
from figures.table import Row, Target, at_most, no_more_above, no_more_than

TITLE = "runs whose broker is in trouble, 8 tasks at a time; connecting and disconnecting are the engine's"

_FOLDER = Path(__file__).parents[1]
_MEBIBYTE = 1024 * 1024
_SHUTDOWN = no_more_than(3_000)


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
FAULTS = (
    Fault("refused", Broker.kill, start=no_more_than(100)),
    Fault("stalled", Broker.freeze, start=no_more_than(2_100)),
    Fault("killed halfway", Broker.start, halfway=Broker.kill),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run in its process."""

    moments: Moments
    peak: float
    """MB."""


def rows(settings: Settings) -> Iterator[Row]:
    """Measure runs of 1,000 tasks of 10 ms under each fault, and a disconnect on a stalled link."""
    n, rounds = settings.size(1_000), settings.rounds_or(3)
    with start_broker() as broker:
        sides = [partial(_outcome, fault, broker, n) for fault in (NO_CONNECTOR, *FAULTS)]
        plain, *troubled = run(alternate(rounds, *sides))
        for fault, outcomes in zip(FAULTS, troubled, strict=True):
            yield from _rows(fault, n, outcomes, plain)
        (taken,) = run(alternate(rounds, partial(_disconnect, broker)))
        yield Row("disconnect on a stalled link", "ms", taken, target=_SHUTDOWN)


def _rows(fault: Fault, n: int, outcomes: Sequence[Outcome], plain: Sequence[Outcome]) -> Iterator[Row]:
    without = "no connector"
    ours, theirs = ([each.moments for each in side] for side in (outcomes, plain))
    worked, alone = ([each.worked for each in side] for side in (ours, theirs))
    yield Row(f"{n:,} of 10 ms, broker {fault.name}", "s", worked, without, alone, at_most(1.05))
    if fault.start is not None:
        started, at_once = ([each.started * 1e3 for each in side] for side in (ours, theirs))
        yield Row("- until the first event", "ms", started, without, at_once, fault.start)
    after, nothing = ([(each.returned - each.ready) * 1e3 for each in side] for side in (ours, theirs))
    yield Row("- from the result until run() returns", "ms", after, without, nothing, _SHUTDOWN)
    peaks, usual = ([each.peak for each in side] for side in (outcomes, plain))
    yield Row("- peak memory", "MB", peaks, without, usual, no_more_above(20))


async def _outcome(fault: Fault, broker: Broker, n: int) -> Outcome:
    broker.restart()
    fault.before(broker)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "figures.programs.running", str(n)),
        "0" if fault is NO_CONNECTOR else str(broker.port),
        stdout=asyncio.subprocess.PIPE,
        cwd=_FOLDER,
    )
    assert process.stdout is not None
    await process.stdout.readline()
    if fault.halfway is not None:
        fault.halfway(broker)
    line = await process.stdout.readline()
    if await process.wait() != 0:
        raise RuntimeError(f"a run with the broker {fault.name} has failed")
    told = json.loads(line)
    return Outcome(peak=told.pop("peak") / _MEBIBYTE, moments=Moments(**told))


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
