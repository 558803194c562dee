"""Functions that other threads post to an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from cascade.interfaces.mailbox import Mailbox

LIMIT = 20.0


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts how often another thread wakes it."""

    woken = 0

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Any = None) -> Any:  # type: ignore[override]
        self.woken += 1
        return super().call_soon_threadsafe(callback, *args, context=context)


def on_loop(loop: asyncio.AbstractEventLoop, post: Callable[[], object]) -> None:
    """Post from another thread, and run the loop until it has nothing to do."""
    thread = threading.Thread(target=post)
    thread.start()
    thread.join(LIMIT)
    assert not thread.is_alive()
    for _ in range(3):
        loop.run_until_complete(asyncio.sleep(0))


def test_all_that_is_posted_at_once_wakes_the_loop_once_and_is_called_in_order() -> None:
    """What is posted later, also by one of the functions, is called too."""
    loop, called = CountingLoop(), list[object]()
    box = Mailbox(loop)

    def post_many() -> None:
        for n in range(50):
            box.post(called.append, n)

    on_loop(loop, post_many)
    assert (called, loop.woken) == ([*range(50)], 1)
    on_loop(loop, lambda: box.post(lambda: box.post(called.append, "inner")))
    on_loop(loop, lambda: box.post(called.append, "last"))
    assert called[50:] == ["inner", "last"]
    loop.close()


def test_a_function_that_fails_does_not_hold_back_the_others() -> None:
    """Its error goes where the loop sends errors of callbacks, with the function's name."""
    loop, called, errors = CountingLoop(), list[object](), list[dict[str, Any]]()
    loop.set_exception_handler(lambda _, context: errors.append(context))
    box = Mailbox(loop)

    def fail() -> None:
        raise ValueError("no")

    def post_both() -> None:
        box.post(fail)
        box.post(called.append, 1)

    on_loop(loop, post_both)
    on_loop(loop, lambda: box.post(called.append, 2))
    assert called == [1, 2]
    ((message, error),) = [(context["message"], context["exception"]) for context in errors]
    assert "fail" in message
    assert (type(error), str(error)) == (ValueError, "no")
    loop.close()


def test_nothing_is_called_and_nothing_raised_after_the_loop_was_closed() -> None:
    """A worker's thread may outlive the program's loop."""
    loop, called = CountingLoop(), list[object]()
    box = Mailbox(loop)
    loop.close()
    box.post(called.append, 1)
    box.post(called.append, 2)
    assert called == []
