"""kill -9 of a service: between the acceptance of a request and its first step, and in each step."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import killed_service
import pytest
from killed_service import FAILS, PATIENT, STEPS, expected

import cascade as cs
from cascade.interfaces import Message
from cascade.testkit import eventually
from cascade.testkit.brokers import Broker, Mosquitto
from cascade.testkit.fixtures import require_mosquitto

PAUSE = "cascade/constraints/task/enter/@pause"
SPOTS = (0, *range(1, STEPS + 1), FAILS)


class Desk:
    """Asks a service, counts its responses by id, and kills it."""

    def __init__(self, broker: Broker, folder: Path, client: Any) -> None:
        self.url, self.folder, self.client = f"{broker.url}?source_id=press", folder, client
        self.logs = folder / "logs"
        self.logs.mkdir()
        self.heard: Counter[tuple[str, str, str]] = Counter()
        self.reports = 0
        self.process: Any = None

    async def listen(self) -> None:
        async for item in self.client.watch("cascade/responses/#", "cascade/state/press/workflows"):
            if not isinstance(item, Message):
                continue
            if item.topic.startswith("cascade/responses/"):
                said = json.loads(item.payload)
                self.heard[said["id"], said["status"], said.get("code") or said.get("outcome") or ""] += 1
            elif not item.retain and item.payload:
                self.reports += 1

    async def pause(self, *, on: bool) -> None:
        await self.client.publish(PAUSE, {"type": "pause"} if on else None, 1, retain=True)

    async def start(self) -> None:
        reports = self.reports
        self.process = await asyncio.to_thread(
            killed_service.begin, self.url, self.folder / "runs", self.logs
        )
        await eventually(lambda: self.reports > reports)

    async def kill(self) -> None:
        self.process.kill()
        await asyncio.to_thread(self.process.join)
        assert self.process.exitcode == -signal.SIGKILL
        self.process.close()
        self.process = None

    async def ask(self, id_: str, spot: int, *, wait: bool, other: bool = False) -> None:
        params = {"id_": "other" if other else id_, "spot": spot}
        content = {"id": id_, "params": params, "wait": wait}
        await self.client.publish(f"cascade/requests/press/{'audit' if spot else 'held'}", content, 1)

    def log(self, id_: str) -> list[str]:
        path = self.logs / id_
        return path.read_text().splitlines() if path.exists() else []


@asynccontextmanager
async def desk(broker: Broker, folder: Path) -> AsyncIterator[Desk]:
    client: Any = cs.connector(broker.url, presence=False, **PATIENT)
    async with client:
        made = Desk(broker, folder, client)
        listening = asyncio.create_task(made.listen())
        await client.flush(10)
        try:
            yield made
        finally:
            listening.cancel()
            await asyncio.wait({listening})
            if made.process is not None:
                await made.kill()


async def one_round(service: Desk, turn: int) -> None:
    """One request for each spot is accepted, and its run waits there; the service dies, and the next process is asked again."""
    ids = {spot: f"{turn}.{spot}" for spot in SPOTS}
    await service.pause(on=True)
    await service.start()
    for spot, id_ in ids.items():
        await service.ask(id_, spot, wait=False)
    await eventually(lambda: all(service.heard[id_, "accepted", ""] for id_ in ids.values()))
    await eventually(
        lambda: all(f"begin {spot}" in service.log(id_) for spot, id_ in ids.items() if spot > 0)
    )
    await service.ask(ids[FAILS], FAILS, wait=True)
    await eventually(lambda: service.heard[ids[FAILS], "ended", "Failed"] == 1)
    await service.kill()
    await service.pause(on=False)
    await service.start()
    for spot, id_ in ids.items():
        await service.ask(id_, spot, wait=True)
        await service.ask(id_, spot, wait=True, other=True)
    ends = Counter((id_, "ended", "Failed" if spot == FAILS else "Succeeded") for spot, id_ in ids.items())
    ends[ids[FAILS], "ended", "Failed"] += 1
    refusals = Counter((id_, "refused", "invalid") for id_ in ids.values())
    await eventually(lambda: ends + refusals <= service.heard)
    await service.kill()
    for spot, id_ in ids.items():
        assert service.log(id_) == expected(spot), (turn, spot)
    accepted = Counter((id_, "accepted", "") for id_ in ids.values())
    # a process that dies before "sent" is recorded has the end sent again
    assert Counter({key: n for key, n in service.heard.items() if key[1] != "ended"}) == accepted + refusals
    assert {key for key in service.heard if key[0] in ids.values() and key[1] == "ended"} == ends.keys()
    service.heard.clear()


@pytest.mark.broker
@pytest.mark.process
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.timeout(0)
@pytest.mark.parametrize(
    "rounds",
    [
        pytest.param(10, marks=pytest.mark.full),
        pytest.param(1_000, marks=[pytest.mark.nightly, pytest.mark.longest]),
    ],
)
async def test_a_killed_service_loses_no_accepted_request_and_ends_none_twice(
    tmp_path: Path, rounds: int
) -> None:
    """By the logs of the steps alone; a repeated id of a failed run runs nothing, and one with other parameters is refused."""
    require_mosquitto()
    with Mosquitto() as broker:
        async with desk(broker, tmp_path) as service:
            for turn in range(rounds):
                await one_round(service, turn)
