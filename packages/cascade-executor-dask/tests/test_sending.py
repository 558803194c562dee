"""Which calls go to a worker in one graph; what sends them is a stand-in."""

import asyncio
from typing import Any

import pytest

from cascade.executors.dask._calls import ClusterCalls
from cascade.executors.dask._placement import Call
from cascade.executors.dask._sending import LARGE, graphs, send_graph
from cascade.interfaces import Directive
from cascade.interfaces.ahead import CallWithdrawn
from cascade.interfaces.numbered_calls import SentAnswer
from cascade.testkit import eventually


class Future:
    """Is never done."""

    async def exception(self) -> None:
        await asyncio.Event().wait()

    def release(self) -> None:
        pass


class Client:
    """Records the graphs that it gets."""

    def __init__(self) -> None:
        self.graphs: list[dict[str, Any]] = []

    def map(self, function: Any, *columns: list[Any], **options: Any) -> list[Future]:
        self.graphs.append({"numbers": columns[1], "columns": columns, **options})
        return [Future() for _ in columns[0]]


class StandIn:
    """A cluster that is connected."""

    def __init__(self) -> None:
        self.client = Client()


def make_call(packed: bytes = b"", ended: list[object] | None = None) -> Call:
    outcomes = ended if ended is not None else []
    return Call(packed, "f", on_start=lambda: None, on_end=outcomes.append, withdrawable=True)


def make_calls(*workers: str) -> tuple[ClusterCalls, Client]:
    """Return calls at workers with one thread each, to which up to eight calls are sent ahead."""
    cluster: Any = StandIn()
    made = ClusterCalls(cluster, limit=None, changed=lambda *_: None)
    made._placement.update(dict.fromkeys(workers, 1))
    made._placement.learn(0.0)
    made._following = asyncio.create_task(asyncio.Event().wait())  # type: ignore[arg-type]  # follows nothing
    return made, cluster.client


async def stop(made: ClusterCalls) -> None:
    tasks = [*made._receiving.values(), *filter(None, [made._following])]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_calls_of_one_turn_go_in_one_graph_to_each_worker() -> None:
    """In their order; a scheduler needs about as long for a graph as for a call."""
    made, client = make_calls("a", "b")
    for _ in range(6):
        made.submit(make_call())
    assert client.graphs == []
    await eventually(lambda: client.graphs)
    assert sorted(worker for graph in client.graphs for worker in graph["workers"]) == ["a", "b"]
    numbers = [graph["numbers"] for graph in client.graphs]
    assert numbers == [sorted(each) for each in numbers]
    assert sorted(number for each in numbers for number in each) == [*range(1, 7)]
    assert [graph["fifo_timeout"] for graph in client.graphs] == [0, 0]
    await stop(made)


async def test_no_more_are_sent_than_there_is_room_for() -> None:
    """One for the thread of the worker and eight ahead; the next one follows when one has ended."""
    made, client = make_calls("a")
    calls = [make_call() for _ in range(11)]
    for call in calls:
        made.submit(call)
    await eventually(lambda: client.graphs)
    assert [graph["numbers"] for graph in client.graphs] == [[*range(1, 10)]]
    made._end(calls[0], b"")
    made._end(calls[1], b"")
    await eventually(lambda: len(client.graphs) == 2)
    assert client.graphs[1]["numbers"] == [10, 11]
    await stop(made)


async def test_a_call_that_is_given_up_before_the_turn_ends_is_not_sent() -> None:
    """It has certainly not started."""
    made, client = make_calls("a")
    ended: list[object] = []
    given_up, other = make_call(ended=ended), make_call()
    made.submit(given_up)
    made.submit(other)
    made.abandon(given_up)
    await eventually(lambda: client.graphs)
    assert [type(outcome) for outcome in ended] == [CallWithdrawn]
    assert [graph["numbers"] for graph in client.graphs] == [[other.number]]
    await stop(made)


async def test_what_is_withdrawn_before_the_turn_ends_is_not_sent() -> None:
    """A pause is reported as applied when no call sent ahead can start."""
    made, client = make_calls("a")
    ended: list[object] = []
    for _ in range(3):
        made.submit(make_call(ended=ended))
    await made.withdraw()
    assert [type(outcome) for outcome in ended] == [CallWithdrawn] * 3
    for _ in range(3):
        await asyncio.sleep(0)
    assert client.graphs == []
    await stop(made)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], []),
        ([1, 2, 3], [[1, 2, 3]]),
        ([LARGE, 1], [[LARGE], [1]]),
        ([1, LARGE - 1, 1], [[1, LARGE - 1], [1]]),
        ([1, LARGE + 1, 1, 1], [[1], [LARGE + 1], [1, 1]]),
        ([LARGE + 1] * 2, [[LARGE + 1]] * 2),
    ],
)
def test_a_graph_is_not_large_unless_a_call_is(sizes: list[int], expected: list[list[int]]) -> None:
    """The scheduler takes each graph in one piece."""
    made = graphs(make_call(bytes(size)) for size in sizes)
    assert [[len(call.packed) for call in graph] for graph in made] == expected


@pytest.mark.parametrize("understands", [True, False])
def test_orders_go_with_the_calls_of_a_graph(understands: bool) -> None:
    """Unless no call has one, or the worker would not understand them."""
    client = Client()
    calls = [make_call(), make_call()]
    send_graph(client, "session", calls, "a", with_orders=understands)
    calls[1].direct(Directive.PAUSE)
    send_graph(client, "session", calls, "a", with_orders=understands)
    first, second = (graph["columns"][4:] for graph in client.graphs)
    assert first == ()
    assert second == (([(0, "run"), (1, "pause")],) if understands else ())


async def test_an_answer_to_an_earlier_sending_ends_no_call() -> None:
    """The call was withdrawn from its first worker, and sent to another one under a new number."""
    made, client = make_calls("a")
    ended: list[object] = []
    call = make_call(ended=ended)
    made.submit(call)
    await eventually(lambda: client.graphs)
    made._take_answer(call, SentAnswer(call.number - 1, 0.0, b"old"))
    assert ended == []
    made._take_answer(call, SentAnswer(call.number, 0.0, b"new"))
    assert ended == [b"new"]
    await stop(made)
