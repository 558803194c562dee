"""How long a run waits for others at its start: time in which it could not look does not count."""

import asyncio
import time

import pytest

from cascade.transport import waiting
from cascade.transport.waiting import AwakeTimeout


@pytest.fixture(autouse=True)
def _short_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "STEP", 0.001)


async def test_what_came_while_the_process_stood_still_is_read_first() -> None:
    """A loop that was blocked for longer than the whole limit has not looked yet."""

    async def answer_after_a_standstill() -> None:
        time.sleep(0.2)  # noqa: ASYNC251 - the standstill
        for _ in range(5):  # reading takes some iterations of the loop
            await asyncio.sleep(0)

    timeout, answer = AwakeTimeout(0.1), asyncio.create_task(answer_after_a_standstill())
    await timeout.wait(answer)
    assert answer.done()
