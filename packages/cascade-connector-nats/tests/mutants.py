"""The connector with one fault each, on a real nats-server; ``test_suite_notices.py`` runs them, pytest alone does not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from unittest import mock
from weakref import WeakSet

import pytest
from test_contract import TestOnNats

from cascade.connectors.nats._client import NatsClient, _Connection
from cascade.connectors.nats._link import NatsLink
from cascade.connectors.nats._store import Store
from cascade.interfaces.subjects import subject_of
from cascade.transport.incoming.dispatcher import Dispatcher
from cascade.transport.incoming.retained_feed import RetainedFeed
from cascade.transport.outbox import Outgoing

pytestmark = pytest.mark.wrong_messages("each connector has a fault", "#")


class Mutant(TestOnNats):
    """A correct connector; a subclass breaks it before each test."""

    __test__ = False
    timeout = 3.0  # what fails here waits in vain

    @pytest.fixture(autouse=True)
    def fault(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.spoil(monkeypatch)

    @staticmethod
    def spoil(patch: pytest.MonkeyPatch) -> None:
        """Break the connector."""


class TestForgetsToResubscribe(Mutant):
    __test__ = True

    @staticmethod
    def spoil(patch: pytest.MonkeyPatch) -> None:
        resubscribe, linked = NatsLink.resubscribe, WeakSet[Dispatcher]()

        async def first_only(self: NatsLink) -> None:
            if self._dispatcher not in linked:
                linked.add(self._dispatcher)
                await resubscribe(self)

        patch.setattr(NatsLink, "resubscribe", first_only)


class TestNeverCompletes(Mutant):
    __test__ = True

    @staticmethod
    def spoil(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(RetainedFeed, "_note_complete", lambda self: None)


class TestCompletesBeforeTheSet(Mutant):
    __test__ = True

    @staticmethod
    def spoil(patch: pytest.MonkeyPatch) -> None:
        consume = Store.consume

        async def none(self: Store, deliver: str, keys: Sequence[str]) -> int:
            following.append(asyncio.create_task(consume(self, deliver, keys), name="later"))
            return 0

        following: list[asyncio.Task[int]] = []
        patch.setattr(Store, "consume", none)


class TestKeepsWhatIsGone(Mutant):
    __test__ = True

    @staticmethod
    def spoil(patch: pytest.MonkeyPatch) -> None:
        finish = RetainedFeed.finish

        def keep(self: RetainedFeed, store: str = "") -> None:
            self._topics |= self._known.topics
            finish(self, store)

        patch.setattr(RetainedFeed, "finish", keep)


class TestSendsAddedTopicsNothing(Mutant):
    __test__ = True

    @staticmethod
    def spoil(patch: pytest.MonkeyPatch) -> None:
        change = RetainedFeed.change

        def forget(self: RetainedFeed, added: Sequence[str], removed: Sequence[str]) -> None:
            change(self, added, removed)
            self._added.clear()

        patch.setattr(RetainedFeed, "change", forget)


class TestForgetsCoveredTopics(Mutant):
    __test__ = True

    @staticmethod
    def spoil(patch: pytest.MonkeyPatch) -> None:
        change = RetainedFeed.change

        def forget(self: RetainedFeed, added: Sequence[str], removed: Sequence[str]) -> None:
            self._topics.difference_update(removed)
            change(self, added, removed)

        patch.setattr(RetainedFeed, "change", forget)


class TestClearsNothing(Mutant):
    __test__ = True

    @staticmethod
    def spoil(patch: pytest.MonkeyPatch) -> None:
        keep = Store.keep

        async def unless_empty(self: Store, key: str, data: bytes, *, ttl: float | None = None) -> None:
            if data:
                await keep(self, key, data, ttl=ttl)

        patch.setattr(Store, "keep", unless_empty)


class TestKeepsNothing(Mutant):
    __test__ = True

    @staticmethod
    def spoil(patch: pytest.MonkeyPatch) -> None:
        def publish(self: Store, item: Outgoing) -> None:
            self.client.write(subject_of(item.topic), item.payload.encode())

        patch.setattr(Store, "publish", publish)


class TestSeesNoWill(Mutant):
    __test__ = True

    @staticmethod
    def spoil(patch: pytest.MonkeyPatch) -> None:
        patch.setattr("cascade.connectors.nats._retained._EXPIRED", b"never")


class TestDeliversOverlapsTwice(Mutant):
    __test__ = True

    @staticmethod
    def spoil(patch: pytest.MonkeyPatch) -> None:
        patch.setattr("cascade.transport.queue_link.first_match", lambda *_: mock.ANY)


class TestEndsTheFilterOfAnother(Mutant):
    __test__ = True

    @staticmethod
    def spoil(patch: pytest.MonkeyPatch) -> None:
        unsubscribe = NatsLink.close_queue

        async def all_of_them(self: NatsLink, queue: Any, unused: Sequence[str]) -> None:
            for topic_filter in queue.filters:
                for number in self._numbers.pop(topic_filter, ()):
                    self.client.unsubscribe(number)
            await unsubscribe(self, queue, unused)

        patch.setattr(NatsLink, "close_queue", all_of_them)


class TestLeavesTasks(Mutant):
    __test__ = True

    @staticmethod
    def spoil(patch: pytest.MonkeyPatch) -> None:
        close = NatsClient.close

        def half(self: NatsClient) -> None:
            native, self._nc = self._nc, _Connection(self)
            close(self)
            self._nc = native

        patch.setattr(NatsClient, "close", half)
