"""Orders on their way to workers; what sends them is a stand-in."""

import asyncio
from collections import defaultdict

from cascade.executors.dask._latest_messages import LatestMessages
from cascade.executors.dask._worker_side import Order
from cascade.interfaces import Directive
from cascade.testkit import eventually, time_limit

PAUSE, GO, STOP = (1, Directive.PAUSE), (2, Directive.RUN), (3, Directive.CANCEL)


class Workers:
    """Takes orders; a worker that is held answers when it is released."""

    def __init__(self, *held: str, fails: int = 0) -> None:
        self.got: dict[str, list[dict[int, Order]]] = defaultdict(list)
        self.gates: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._held = held
        self._fails = fails

    async def send(self, address: str, orders: dict[int, Order]) -> None:
        self.got[address].append(orders)
        if address in self._held:
            await self.gates[address].wait()
        if self._fails:
            self._fails -= 1
            raise OSError("the connection broke")


async def test_a_worker_gets_the_latest_order_of_each_call_one_request_at_a_time() -> None:
    """What changes while a request is on its way goes with the next one, once."""
    workers = Workers("a")
    orders = LatestMessages(workers.send, what="orders")
    orders.put("a", 1, PAUSE)
    await eventually(lambda: workers.got["a"])
    orders.put("a", 1, GO)
    orders.put("a", 2, PAUSE)
    orders.put("a", 1, STOP)
    workers.gates["a"].set()
    await eventually(lambda: len(workers.got["a"]) == 2)
    assert workers.got["a"] == [{1: PAUSE}, {1: STOP, 2: PAUSE}]
    await orders.close()


async def test_a_worker_that_does_not_answer_delays_no_other() -> None:
    """It may be stopped, or its task keep the interpreter's lock."""
    workers = Workers("a")
    orders = LatestMessages(workers.send, what="orders")
    orders.put("a", 1, PAUSE)
    orders.put("b", 2, PAUSE)
    await eventually(lambda: workers.got["b"])
    async with time_limit():
        await orders.close()


async def test_an_order_is_sent_again_when_its_connection_broke() -> None:
    """With what has changed meanwhile."""
    workers = Workers("a", fails=1)
    orders = LatestMessages(workers.send, what="orders")
    orders.put("a", 1, PAUSE)
    orders.put("a", 2, PAUSE)
    await eventually(lambda: workers.got["a"])
    orders.put("a", 1, GO)
    workers.gates["a"].set()
    await eventually(lambda: len(workers.got["a"]) == 2)
    assert workers.got["a"][1] == {1: GO, 2: PAUSE}
    await orders.close()


async def test_a_lost_worker_gets_nothing_more() -> None:
    """Its orders are dropped; one of the same address that comes later gets its own."""
    workers = Workers("a")
    orders = LatestMessages(workers.send, what="orders")
    orders.put("a", 1, PAUSE)
    await eventually(lambda: workers.got["a"])
    orders.put("a", 1, GO)
    orders.drop("a")
    workers.gates["a"].set()
    orders.put("a", 7, PAUSE)
    await eventually(lambda: len(workers.got["a"]) == 2)
    assert workers.got["a"] == [{1: PAUSE}, {7: PAUSE}]
    await orders.close()
