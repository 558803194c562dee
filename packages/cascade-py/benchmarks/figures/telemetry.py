"""The cost of telemetry over MQTT for a run, until an independent subscriber has its last event.

Tasks of 10 ms are run on the event loop of ``cs.run``, and once more on asyncio's own, for comparison: there a
loop that the broker's answers wake keeps each sleeping task asleep until a whole millisecond is over.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from cascade.connectors.mqtt import MqttConnector
from cascade.runtime import Engine, ThreadExecutor, new_event_loop
from cascade.testkit.brokers import Broker, start_broker
from figures.jobs import AT_A_TIME, Moments, follow, naps, noops, now, waits
from figures.listener import Heard, Listener, listening
from figures.measure import Settings, alternate, run
from figures.table import Row, Target, at_most, no_more_above, no_more_than

TITLE = "runs with telemetry over MQTT; connecting, draining and disconnecting are the engine's"

ON_THE_LOOP, IN_THREADS = "on the loop", "in threads"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run, and what the subscriber got of it."""

    moments: Moments
    delivered: float = 0.0
    """Seconds from the call of ``run`` to the last event at the subscriber."""
    lost: int = 0


def rows(settings: Settings) -> Iterator[Row]:
    """Measure a run of no-op tasks, runs of tasks of 10 ms, and the first task of a run."""
    with start_broker() as broker:
        yield from run(_noops(broker, settings))
        name = f"{settings.size(1_000):,} of 10 ms, {AT_A_TIME} at a time, "
        yield run(_short(name + IN_THREADS, IN_THREADS, broker, settings, at_most(1.03)), new_event_loop)
        yield run(_short(name + ON_THE_LOOP, ON_THE_LOOP, broker, settings, at_most(1.03)), new_event_loop)
        yield from run(_millisecond(broker, settings), new_event_loop)
        yield run(_short("- the same on asyncio's own loop", ON_THE_LOOP, broker, settings, None))
        yield run(_first(broker, settings))


async def _noops(broker: Broker, settings: Settings) -> list[Row]:
    n = settings.size(10_000)
    async with listening(broker) as listener:
        plain, heard = await alternate(
            settings.rounds_or(5), lambda: _alone(n), lambda: _heard(broker, listener, n)
        )
    name, without = f"{n:,} no-op tasks", "no connector"
    alone = [each.moments.worked * 1e3 for each in plain]
    ready, returned = (
        [getattr(each.moments, what) * 1e3 for each in heard] for what in ("worked", "returned")
    )
    busy, alone_busy = ([each.moments.busy / n * 1e6 for each in side] for side in (heard, plain))
    delivered, lost = [each.delivered * 1e3 for each in heard], [each.lost for each in heard]
    return [
        Row(f"{name}: last event delivered", "ms", delivered, without, alone, no_more_than(3_000)),
        Row(f"- events lost or out of order, of {2 * n + 2:,}", "", lost, target=no_more_than(0)),
        Row("- result ready", "ms", ready, without, alone, at_most(2.5)),
        Row("- the same as CPU time of a task", "us", busy, without, alone_busy, at_most(2.5)),
        Row("- run() returned", "ms", returned, without, alone, no_more_than(1_500)),
    ]


async def _alone(n: int) -> Outcome:
    return Outcome(await follow(noops(n)))


async def _heard(broker: Broker, listener: Listener, n: int) -> Outcome:
    job = noops(n)
    began = time.time()
    moments = await follow(job, connector=MqttConnector(broker.host, broker.port))
    report = await listener.report()
    return Outcome(moments, report.last - began, _missing(report, 2 * n + 2))


def _missing(heard: Heard, expected: int) -> int:
    return expected - heard.events if heard.in_order else expected


async def _short(name: str, how: str, broker: Broker, settings: Settings, target: Target | None) -> Row:
    n = settings.size(1_000)
    plain, measured = await alternate(
        settings.rounds_or(3), partial(_timed, how, n), partial(_timed, how, n, broker)
    )
    return Row(name, "s", measured, "no connector", plain, target)


async def _timed(how: str, n: int, broker: Broker | None = None) -> float:
    connector = MqttConnector(broker.host, broker.port) if broker else None
    if how == ON_THE_LOOP:
        return (await follow(waits(n), connector=connector)).returned
    executor = ThreadExecutor(AT_A_TIME)
    try:
        return (await follow(naps(n), connector=connector, executor=executor)).returned
    finally:
        await executor.close()


async def _millisecond(broker: Broker, settings: Settings) -> list[Row]:
    n = settings.size(5_000)
    job = partial(waits, n, at_a_time=16, seconds=0.001)
    async with listening(broker) as listener:

        async def with_telemetry() -> Outcome:
            moments = await follow(job(), connector=MqttConnector(broker.host, broker.port))
            return Outcome(moments, lost=_missing(await listener.report(), 2 * n + 2))

        async def without() -> Outcome:
            return Outcome(await follow(job()))

        plain, measured = await alternate(settings.rounds_or(5), without, with_telemetry)
    ours, theirs = ([each.moments.worked for each in side] for side in (measured, plain))
    lost = [each.lost for each in measured]
    name = f"{n:,} of 1 ms, 16 at a time, {ON_THE_LOOP}"
    return [
        Row(name, "s", ours, "no connector", theirs, at_most(1.15)),
        Row("- events lost or out of order", "", lost, target=no_more_than(0)),
    ]


async def _first(broker: Broker, settings: Settings) -> Row:
    plain, measured = await alternate(
        settings.rounds_or(15), lambda: _until_first(None), lambda: _until_first(broker)
    )
    return Row("first task of a run begins", "ms", measured, "no connector", plain, no_more_above(20))


async def _until_first(broker: Broker | None) -> float:
    connector = MqttConnector(broker.host, broker.port) if broker else None
    called = time.perf_counter()
    return (await Engine(connector=connector).run(now()) - called) * 1e3
