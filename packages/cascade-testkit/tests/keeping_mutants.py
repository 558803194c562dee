"""Connectors for which messages are kept, a correct one and others that are wrong in one way each. Run by ``test_suite_is_tested.py``."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable

from tiny import Board, Line, Tiny
from tiny_contract import TinyHooks

from cascade.interfaces.wire import decode_payload
from cascade.testkit.connector import Ability, Keeping

Message = tuple[int, str, bytes]


class KeepingBoard(Board):
    """Keeps what was not acknowledged, by the name of a session and the number of a message."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = itertools.count()
        self.sessions: dict[str, dict[int, Message]] = {}
        self.wanted: dict[str, set[str]] = {}
        self.readers: dict[str, Keeper] = {}

    def send(self, topic: str, payload: bytes, retain: bool, *, kept_as: str | None = None) -> None:
        super().send(topic, payload, retain, kept_as=kept_as)
        for name, filters in self.wanted.items():
            if any(self.matches(each, topic) for each in filters):
                message = (next(self.numbers), topic, payload)
                if self.keeps(name):
                    self.sessions[name][message[0]] = message
                if (reader := self.readers.get(name)) is not None:
                    reader.take_soon(message)

    def open(self, name: str, filters: set[str], reader: "Keeper") -> None:
        self.wanted[name], self.readers[name] = filters, reader
        for message in self.in_order(self.sessions.setdefault(name, {}).values()):
            reader.take_soon(message)

    # What the mutants do wrong, each in one of these.

    def keeps(self, name: str) -> bool:
        return True

    def in_order(self, messages: Iterable[Message]) -> list[Message]:
        return [*messages]


class Keeper(Tiny):
    """Correct."""

    name = ""
    board: KeepingBoard

    def __init__(self, board: KeepingBoard, line: Line) -> None:
        super().__init__(board, line)
        self.taken: list[Message] = []
        self.worker: asyncio.Task[None] | None = None

    def keep(self, name: str, stored: Callable[[], Awaitable[None]]) -> None:
        self.name, self.stored = name, stored

    def link(self) -> None:
        super().link()
        if self.name:
            self.board.detach(self)
            self.begin()

    def begin(self) -> None:
        assert self.loop is not None
        self.arrived = asyncio.Event()
        self.worker = self.loop.create_task(self.work(), name="keeper")
        self.tasks.add(self.worker)
        self.board.open(self.name, self.filters_for_a_new_link(), self)

    def unlink(self) -> None:
        super().unlink()
        if self.board.readers.get(self.name) is self:
            del self.board.readers[self.name]
        self.taken.clear()
        if self.worker is not None:
            self.worker.cancel()

    def take_soon(self, message: Message) -> None:
        self.taken.append(message)
        self.arrived.set()
        self.note_arrival(message[0])

    async def work(self) -> None:
        while True:
            await self.arrived.wait()
            self.arrived.clear()
            while self.taken:
                number, topic, payload = self.taken.pop(0)
                await self.settle(number, topic, payload)

    async def settle(self, number: int, topic: str, payload: bytes) -> None:
        await self.call_all(topic, payload)
        await self.stored()
        self.acknowledge(number)

    async def call_all(self, topic: str, payload: bytes) -> None:
        for subscription in [*self.subscriptions]:
            await self.call(subscription, topic, decode_payload(payload))

    # What the mutants do wrong, each in one of these.

    def note_arrival(self, number: int) -> None:
        """Do nothing."""

    def acknowledge(self, number: int) -> None:
        self.board.sessions[self.name].pop(number, None)


class AcknowledgesNothing(Keeper):
    def acknowledge(self, number: int) -> None:
        pass


class AcknowledgesOnArrival(Keeper):
    """As a client library does by itself."""

    def note_arrival(self, number: int) -> None:
        self.acknowledge(number)


class AcknowledgesBeforeTheCommit(Keeper):
    async def settle(self, number: int, topic: str, payload: bytes) -> None:
        await self.call_all(topic, payload)
        self.acknowledge(number)
        await self.stored()


class AsksBeforeTheCallback(Keeper):
    async def settle(self, number: int, topic: str, payload: bytes) -> None:
        if self.stored.stuck:  # type: ignore[attr-defined]
            await super().settle(number, topic, payload)
        else:
            await self.stored()
            self.acknowledge(number)
            await self.call_all(topic, payload)


class ForgetsWithItsLink(Keeper):
    def unlink(self) -> None:
        if self.loop is not None and self.line.state == "down":
            self.board.sessions.get(self.name, {}).clear()
        super().unlink()


class KeeperContract(TinyHooks, Keeping):
    """The section of kept messages alone: in all others these are like Tiny."""

    abilities = TinyHooks.abilities | {Ability.KEEP}
    kind = Keeper
    board_kind = KeepingBoard


class LosesWhatIsSentMeanwhile(KeepingBoard):
    """It keeps for one that has a link only."""

    def keeps(self, name: str) -> bool:
        return name in self.readers


class SendsTheNewestFirst(KeepingBoard):
    def in_order(self, messages: Iterable[Message]) -> list[Message]:
        return [*messages][::-1]


for kind in (
    Keeper,
    AcknowledgesNothing,
    AcknowledgesOnArrival,
    AcknowledgesBeforeTheCommit,
    AsksBeforeTheCallback,
    ForgetsWithItsLink,
):
    globals()[f"Test{kind.__name__}"] = type(f"Test{kind.__name__}", (KeeperContract,), {"kind": kind})
for board in (LosesWhatIsSentMeanwhile, SendsTheNewestFirst):
    attributes = {"board_kind": board}
    globals()[f"Test{board.__name__}"] = type(f"Test{board.__name__}", (KeeperContract,), attributes)
