"""Which message goes next, decided without a connector, a file or a clock."""

from __future__ import annotations

import pytest
from hypothesis import given as examples
from hypothesis import strategies as st

from cascade.interfaces import Delivery
from cascade.runtime._outbox.file import Stored
from cascade.runtime._outbox.send_order import QueuedMessage, Ranges, SendOrder


def settled(entry: QueuedMessage, delivery: Delivery) -> None:
    """Do nothing."""


def entry_of(number: int, *, old: bool = False, text: str = "{}") -> QueuedMessage:
    return QueuedMessage(settled, number, "a", text, 1, 0.0, old=old)


def given(order: SendOrder) -> list[int]:
    """Give the connector what follows, as long as it has room; return the numbers."""
    numbers = []
    while len(order.in_hand) < order.limit and (entry := order.following()) is not None:
        order.give(entry)
        numbers.append(entry.number)
    return numbers


@pytest.mark.parametrize(
    ("live_first", "expected"),
    [(False, [3, -2, -1, 4]), (True, [3, 4, -2, -1])],
    ids=["in order", "live first"],
)
def test_returned_messages_go_first_then_those_of_the_file_or_of_memory(
    live_first: bool, expected: list[int]
) -> None:
    """Older messages have lower numbers; ``live-first`` sends new ones before them."""
    order = SendOrder(live_first=live_first, limit=10)
    order.stored.insert(Stored(-2, -1, 2))
    unread = [order.unread]
    order.has_read(-2, -1, [entry_of(-2, old=True), entry_of(-1, old=True)])
    assert [*unread, order.unread] == [(-2, -1), None]
    assert [*order.wait(entry_of(4), disk_fails=True)] == []
    order.give_back(entry_of(3))
    assert given(order) == expected
    order.renew()
    assert (order.behind, order.idle, order.overtaken) == (False, False, 4 if live_first else 3)


def test_a_message_is_settled_once_and_not_read_again_while_it_is_in_memory() -> None:
    order = SendOrder(live_first=False, limit=10)
    order.give(one := entry_of(1))
    order.give_back(entry_of(2))
    order.stored.insert(Stored(1, 3, 3))
    order.has_read(1, 3, [entry_of(number, old=True) for number in (1, 2, 3)])
    assert [entry.number for entry in order.page] == [3]
    assert [order.settled(one), order.settled(one)] == [True, False]


@examples(st.lists(st.one_of(st.booleans(), st.tuples(st.integers(-30, 0), st.integers(1, 10)))))
def test_numbers_that_wait_in_the_file_are_read_once_and_in_order(
    steps: list[bool | tuple[int, int]],
) -> None:
    """New ones are added above all others, older ones are inserted, and parts of the first range are read."""
    ranges, waiting, highest = Ranges(), set[int](), 0
    for step in steps:
        if step is True:
            highest += 1
            ranges.add(highest)
            waiting.add(highest)
        elif step is False:
            if ranges:
                first, last = ranges.first
                upto = (first + last) // 2
                ranges.has_read(first, upto)
                assert first == min(waiting)
                waiting -= {*range(first, upto + 1)}
        else:
            start, size = step
            ranges.insert(Stored(start, start + size - 1, size))
            waiting |= {*range(start, start + size)}
            highest = max(highest, start + size - 1)
        assert [n for low, high in ranges for n in range(low, high + 1)] == sorted(waiting)
        assert bool(ranges) is bool(waiting)
