"""A tiny connector that reports what became of each message. ``mutants.py`` makes it wrong."""

from collections.abc import Callable

from tiny import Board, Line, Tiny

from cascade.interfaces import Delivery
from cascade.interfaces.topics import check_topic

Settled = Callable[[Delivery], None]


class Settler(Tiny):
    """Correct: a message is settled where it leaves the outbox."""

    def __init__(self, board: Board, line: Line) -> None:
        super().__init__(board, line)
        self.settlements: dict[int, tuple[bytes, Settled]] = {}

    def deliver_nowait(self, topic: str, payload: str, qos: int = 1, *, settled: Settled) -> None:
        check_topic(topic)
        if self.loop is None:
            settled(Delivery.RETURNED)
            return
        self.check_thread()
        data = payload.encode()
        self.settlements[id(data)] = data, settled
        self.counts.update(accepted=1)
        self.queue((topic, data, False))
        self.wake.set()

    def queue(self, message: tuple[str, bytes, bool]) -> None:
        self.outbox.append(message)

    def hand_over(self, topic: str, payload: bytes, retain: bool) -> None:
        super().hand_over(topic, payload, retain)
        self.settle(payload, Delivery.TAKEN)

    def drop_all(self) -> None:
        for _, payload, _ in self.outbox:
            self.settle(payload, Delivery.RETURNED)
        super().drop_all()

    def settle(self, payload: bytes, delivery: Delivery) -> None:
        _, settled = self.settlements.pop(id(payload), (b"", None))
        if settled is not None:
            settled(delivery)
