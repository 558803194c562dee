"""The hooks of the contract suite for connectors in memory, and single sections of it for mutants."""

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from tiny import Board, Line, Tiny

from cascade.interfaces import Connector, ConnectorStatistics
from cascade.testkit.connector import Ability, Harness


class TinyHooks(Harness):
    """``make`` and the others, for a connector of ``kind`` at a board of ``board_kind``."""

    abilities = frozenset(
        {
            Ability.DELIVERY,
            Ability.RETAINED,
            Ability.LINK,
            Ability.BYTES,
            Ability.STATISTICS,
            Ability.PUBLISH_NOWAIT,
            Ability.FLUSH,
        }
    )
    timeout = 2.0
    kind: ClassVar[type[Tiny]] = Tiny
    board_kind: ClassVar[type[Board]] = Board

    @pytest.fixture
    def environment(self) -> None:
        self.board, self.line = self.board_kind(), Line()

    async def make(self) -> Connector:
        return self.kind(self.board, self.line)

    async def make_witness(self) -> Connector:
        return Tiny(self.board, Line())

    async def send_bytes(self, topic: str, payload: bytes) -> None:
        self.board.send(topic, payload, retain=False)

    async def interrupt(self) -> None:
        self.line.turn("down")

    async def silence(self) -> None:
        self.line.turn("silent")

    async def restore(self) -> None:
        self.line.turn("up")


def against(section: type[Harness], kind: type[Tiny], *further: Ability, **attributes: Any) -> type[Any]:
    """Return the tests of one section of the suite, for a connector that is wrong in what this section is about."""
    abilities = TinyHooks.abilities.union(further)
    return type(section.__name__, (TinyHooks, section), {"kind": kind, "abilities": abilities, **attributes})


def counting_wrongly(**changes: Callable[[ConnectorStatistics], object]) -> type[Tiny]:
    """Return a connector whose statistics have other values: each is computed from the true statistics."""

    class Counts(Tiny):
        def statistics(self) -> ConnectorStatistics:
            counts = super().statistics()
            wrong: dict[str, Any] = {name: change(counts) for name, change in changes.items()}
            return counts._replace(**wrong)

    return Counts
