"""A distant broker: 800 events a second over a proxy that delays every byte.

A run is compared from its call to its result. Before the first task it waits for the broker's retained constraints:
CONNECT is one round trip, SUBSCRIBE with a nonce another, and without a name a second nonce behind the first a third.
At 200 ms these are 0.6 s, so that only a run of at least 4 s can stay within 1.2 of one without a connector; the second
half of the run is compared, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from cascade.testkit.brokers import Broker, start_broker
from cascade.testkit.chaos import ChaosProxy
from figures.faults import Outcome, run_alone
from figures.measure import Settings, alternate, run
from figures.table import Row, at_most, no_more_than

TITLE = "runs with 800 events a second (4 tasks of 10 ms at a time) and a distant broker, MQTT 3.1.1"

ROUND_TRIPS = (0.06, 0.1, 0.2)
AT_A_TIME = 4


def rows(settings: Settings) -> Iterator[Row]:
    """Measure runs at each round trip, each also with a broker that restarts halfway, beside a run without one."""
    n = settings.size(2_000)
    with start_broker() as broker:
        cases = [(each, restart) for each in ROUND_TRIPS for restart in (False, True)]
        sides = [partial(_outcome, broker, n, each, restart=restart) for each, restart in cases]
        plain, *others = run(alternate(settings.rounds_or(3), partial(_plain, n), *sides))
    for (round_trip, restart), outcomes in zip(cases, others, strict=True):
        fault = ", broker restarted halfway" if restart else ""
        yield Row(
            f"{2 * n:,} events, round trip {round_trip * 1e3:g} ms{fault}: result ready", "s",
            [each.moments.ready for each in outcomes],
            "no connector", [each.moments.ready for each in plain], at_most(1.2),
        )  # fmt: skip
        yield Row(
            "- the second half", "s", [each.second_half for each in outcomes],
            "no connector", [each.second_half for each in plain], at_most(1.2),
        )  # fmt: skip
        pairs = zip(outcomes, plain, strict=True)
        later = [(ours.moments.ready - theirs.moments.ready) / round_trip for ours, theirs in pairs]
        yield Row("- how much later, in round trips", "", later)
        lost = [float(each.lost) for each in outcomes]
        yield Row("- events lost", "", lost, target=no_more_than(0))
        drained = [(each.moments.returned - each.moments.ready) * 1e3 for each in outcomes]
        yield Row("- from the result until run() returns", "ms", drained, target=no_more_than(5_500))


async def _plain(n: int) -> Outcome:
    return await run_alone(n, 0, at_a_time=AT_A_TIME)


async def _outcome(broker: Broker, n: int, round_trip: float, *, restart: bool) -> Outcome:
    async with ChaosProxy(broker.port) as proxy:
        proxy.delay(round_trip / 2)
        halfway = broker.restart if restart else None
        return await run_alone(n, proxy.port, at_a_time=AT_A_TIME, halfway=halfway)
