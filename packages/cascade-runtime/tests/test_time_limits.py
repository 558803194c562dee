"""TimeLimits: the time of an attempt stands still while it is paused."""

import asyncio

from cascade.runtime._graph.node import Node
from cascade.runtime._scheduler.checkpoints import TimeLimits


class Attempted:
    """As much of a node as limits know."""

    attempt = 1


async def test_a_limit_stands_still_and_goes_on_with_the_rest() -> None:
    """However often it is stopped and continued; another attempt is not affected."""
    loop = asyncio.get_running_loop()
    limits, node = TimeLimits(loop), Attempted()
    async with asyncio.timeout(1000) as limit:
        limits.begin(as_node(node), limit)
        for _ in range(3):
            before = limit.when()
            limits.stop(as_node(node), 1)
            limits.stop(as_node(node), 1)
            assert limit.when() is None
            await asyncio.sleep(0)
            limits.go_on(as_node(node), 2)
            assert limit.when() is None
            limits.go_on(as_node(node), 1)
            limits.go_on(as_node(node), 1)
            after = limit.when()
            assert before is not None
            assert after is not None
            assert 0 <= after - before < 500
        limits.end(as_node(node), 1)
        limits.stop(as_node(node), 1)
        assert limit.when() == after


async def test_a_limit_that_has_passed_is_left_alone() -> None:
    """A pause that comes too late changes nothing."""
    limits, node = TimeLimits(asyncio.get_running_loop()), Attempted()
    try:
        async with asyncio.timeout(0) as limit:
            limits.begin(as_node(node), limit)
            await asyncio.Event().wait()
    except TimeoutError:
        limits.stop(as_node(node), 1)
        limits.go_on(as_node(node), 1)
    assert limit.expired()


def as_node(thing: object) -> Node:
    return thing  # type: ignore[return-value]
