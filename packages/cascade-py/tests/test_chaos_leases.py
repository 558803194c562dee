"""Five boxes with one lease, while boxes and the broker are frozen and killed, and links cut: never two holders."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from statistics import median

import pytest

from cascade.testkit import eventually
from cascade.testkit.brokers import Mosquitto
from cascade.testkit.chaos import ChaosProxy
from cascade.testkit.fixtures import require_mosquitto

TTL = 2.0
BOXES = 5
WORKER = Path(__file__).with_name("lease_worker.py")


class Box:
    """A worker in a process of its own, behind a proxy of its own."""

    def __init__(self, number: int, proxy: ChaosProxy, folder: Path) -> None:
        self.name, self.proxy = f"box-{number}", proxy
        self.log = folder / f"{self.name}.log"
        self.log.touch()
        self.start()

    def start(self) -> None:
        words = (self.proxy.host, str(self.proxy.port), self.name, str(TTL), str(self.log))
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER), *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def kill(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()


def works(boxes: list[Box]) -> list[tuple[float, int, str]]:
    """Return all pieces of work in the order of the moments before their checks."""
    found = []
    for box in boxes:
        # a killed box may leave half a line
        lines = box.log.read_text("utf-8").split("\n")[:-1]
        found += [(float(at), int(term), who) for at, term, who in map(str.split, lines)]
    return sorted(found)


@contextlib.asynccontextmanager
async def fleet(broker: Mosquitto, folder: Path) -> AsyncIterator[list[Box]]:
    async with contextlib.AsyncExitStack() as stack:
        boxes = []
        for number in range(BOXES):
            proxy = await stack.enter_async_context(ChaosProxy(broker.port))
            boxes.append(Box(number, proxy, folder))
        try:
            yield boxes
        finally:
            for box in boxes:
                box.kill()


async def trouble(random: Random, boxes: list[Box], broker: Mosquitto) -> str:
    """Do one of the things that happen to a fleet, and undo it."""
    found = works(boxes)
    at_holder = [box for box in boxes if found and found[-1][2].startswith(box.name)]
    box = random.choice(at_holder if at_holder and random.random() < 0.5 else boxes)
    seconds = TTL * random.choice([0.2, 0.5, 0.9, 1.2, 2.0]) * random.uniform(0.8, 1.2)
    kind = random.choice(["stop", "stop", "kill", "broker", "cut", "stall"])
    if kind == "stop":
        box.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        box.process.send_signal(signal.SIGCONT)
    elif kind == "kill":
        box.kill()
        box.start()
    elif kind == "broker":
        broker.kill()
        await asyncio.sleep(seconds / 4)
        broker.restart()
    elif kind == "cut":
        await box.proxy.down()
        await asyncio.sleep(seconds)
        await box.proxy.up()
    else:
        box.proxy.stall()
        await asyncio.sleep(seconds)
        box.proxy.resume()
    return kind


def check(found: list[tuple[float, int, str]]) -> list[float]:
    """Check what was logged; return the seconds from the last work of each term to the first of the next one."""
    terms = [term for _, term, _ in found]
    assert terms == sorted(terms), "work of an older term is behind a newer one"
    assert len({(term, who) for _, term, who in found}) == len(set(terms)), "a term has two holders"
    return [later - earlier for (earlier, old, _), (later, new, _) in itertools.pairwise(found) if old != new]


@pytest.mark.process
@pytest.mark.broker
@pytest.mark.full
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("seconds", "seed"),
    [
        pytest.param(15, 1),
        *(
            pytest.param(240, seed, marks=[pytest.mark.nightly, *([pytest.mark.longest] if seed > 1 else [])])
            for seed in (1, 2, 3)
        ),
    ],
)
async def test_no_work_of_an_older_term_is_behind_a_newer_one(
    seconds: float, seed: int, tmp_path: Path
) -> None:
    """By the logs of the workers alone, each line written to disk with the time before the check."""
    require_mosquitto()
    random, done = Random(seed), dict[str, int]()
    with Mosquitto(durable=True) as broker:
        async with fleet(broker, tmp_path) as boxes:
            await eventually(lambda: works(boxes))
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                kind = await trouble(random, boxes, broker)
                done[kind] = done.get(kind, 0) + 1
                await asyncio.sleep(random.uniform(0.2, 1.2) * TTL)
            number = len(works(boxes))
            await eventually(lambda: len(works(boxes)) > number)
        found = works(boxes)
    gaps = check(found)
    figures = (
        f"{done}: {len({term for _, term, _ in found})} terms, {len(found)} pieces of work, "
        f"take-over {median(gaps or [0.0]) / TTL:.2f} ttl (median of {len(gaps)})"
    )
    print(figures)
