"""Messages between an executor and its workers: orders, reports, and the window of a call; what sends them is a stand-in."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from typing import Any

from cascade.executors.dask._call import Call
from cascade.executors.dask._latest_messages import LatestMessages
from cascade.executors.dask._reports import Reports
from cascade.executors.dask._worker_side import WINDOW, Order
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


class Client:
    """Keeps the handler of a topic."""

    def subscribe_topic(self, topic: str, handler: Any) -> None:
        self.handler = handler


class Context:
    """The engine's side, which notes what it is given."""

    def __init__(self) -> None:
        self.given: list[object] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: self.given.append((name, args, kwargs))


def make_call(received: list[int], context: Any = None) -> Call:
    call = Call(b"", "f", on_end=lambda _: None, on_received=received.append, context=context)
    call.number = 1
    return call


def subscribe(client: Client, call: Call) -> None:
    ended = lambda *_: None  # noqa: E731
    Reports("topic", {1: call}, left=ended, answered=ended).subscribe(client)


def test_what_a_call_has_published_is_confirmed_at_each_quarter_of_its_window() -> None:
    """With the sum of all; also of a call that nothing follows, or its worker would wait for ever."""
    received: list[int] = []
    client = Client()
    subscribe(client, make_call(received))
    client.handler((0.0, json.dumps([1, "progress", [1, 2, "x" * WINDOW, ""]])))
    text = json.dumps([1, "data", ["row", "x" * (WINDOW // 8)]])
    for _ in range(5):
        client.handler((0.0, text))
    assert received == [2 * len(text), 4 * len(text)]


def test_what_other_programs_write_to_the_topic_is_ignored() -> None:
    """Every client of the cluster may write there."""
    received: list[int] = []
    context, client = Context(), Client()
    subscribe(client, make_call(received, context))
    for nothing in (b"", "", "[]", '[1, "unknown", []]', '[2, "data", ["a", 1]]', None, 7):
        client.handler((0.0, nothing))
    assert (context.given, received) == ([], [])
