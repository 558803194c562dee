"""The reports of calls on their way to their engines; the client of the cluster is a stand-in."""

import json
from typing import Any

import pytest

from cascade.executors.dask._call import Call
from cascade.executors.dask._reports import Reports
from cascade.executors.dask._worker_side import WINDOW


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


@pytest.mark.parametrize(
    ("kind", "content", "given"),
    [
        ("progress", [1, None, "m", "u"], ("progress", (1, None, "m", "u"), {})),
        ("data", ["row", {"a": 1}], ("publish", ("row", {"a": 1}), {})),
        ("arrived", [True], ("arrived", (), {"paused": True})),
        ("arrived", [False], ("arrived", (), {"paused": False})),
    ],
)
def test_a_report_reaches_the_context_of_its_call(kind: str, content: list[Any], given: object) -> None:
    """Only that of its own call."""
    context, client = Context(), Client()
    Reports("topic", {1: make_call([], context)}).subscribe(client)
    for number in (1, 2):
        client.handler((0.0, json.dumps([number, kind, content])))
    assert context.given == [given]


def test_what_a_call_has_published_is_confirmed_at_each_quarter_of_its_window() -> None:
    """With the sum of all; also of a call that nothing follows, or its worker would wait for ever."""
    received: list[int] = []
    client = Client()
    Reports("topic", {1: make_call(received)}).subscribe(client)
    client.handler((0.0, json.dumps([1, "progress", [1, 2, "x" * WINDOW, ""]])))
    text = json.dumps([1, "data", ["row", "x" * (WINDOW // 8)]])
    for _ in range(5):
        client.handler((0.0, text))
    assert received == [2 * len(text), 4 * len(text)]


def test_what_other_programs_write_to_the_topic_is_ignored() -> None:
    """Every client of the cluster may write there."""
    received: list[int] = []
    context, client = Context(), Client()
    Reports("topic", {1: make_call(received, context)}).subscribe(client)
    for nothing in (b"", "", "[]", '[1, "unknown", []]', '[2, "data", ["a", 1]]', None, 7):
        client.handler((0.0, nothing))
    assert (context.given, received) == ([], [])
