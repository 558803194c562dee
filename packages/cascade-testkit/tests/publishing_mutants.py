"""Connectors that are wrong in one way each, in how they live and publish. Run by ``test_suite_is_tested.py``.

Each is run on the section of the suite that is about its fault: no other section looks for it.
"""

import asyncio
import copy
import json
from collections.abc import Callable
from typing import Any

from tiny import Tiny
from tiny_contract import TinyHooks, against, counting_wrongly

from cascade.interfaces import InvalidPayloadError, InvalidTopicError, WrongThreadError
from cascade.testkit.connector import Ability, Life, Publishing

Payload = Callable[[], dict[str, Any]]


class CannotSubscribe(Tiny):
    subscribe = None  # type: ignore[assignment]


class ConnectsTwice(Tiny):
    async def connect(self) -> None:
        if self.loop is not None:
            self.left = asyncio.create_task(asyncio.Event().wait(), name="tiny-second")
        await super().connect()


class PublishesTwiceAfterASecondConnect(Tiny):
    copies = 0

    async def connect(self) -> None:
        self.copies += 1
        await super().connect()

    async def disconnect(self) -> None:
        await super().disconnect()
        self.copies = 0

    def hand_over(self, topic: str, payload: bytes, retain: bool) -> None:
        for _ in range(self.copies):
            super().hand_over(topic, payload, retain)


class CannotLeaveBeforeItCame(Tiny):
    async def disconnect(self) -> None:
        if not hasattr(self, "tasks"):
            raise RuntimeError("not connected")
        await super().disconnect()


class CannotLeaveTwice(Tiny):
    async def disconnect(self) -> None:
        if self.loop is None and self.counts["connections"] and not self.counts["accepted"]:
            raise RuntimeError("not connected")
        await super().disconnect()


class ConnectsOnce(Tiny):
    async def connect(self) -> None:
        if self.loop is None and self.counts["connections"]:
            raise RuntimeError("already used")
        await super().connect()


class StaysOnItsFirstLoop(Tiny):
    first: asyncio.AbstractEventLoop | None = None

    async def connect(self) -> None:
        self.first = self.first or asyncio.get_running_loop()
        if asyncio.get_running_loop() is not self.first:
            raise RuntimeError("bound to a different event loop")
        await super().connect()


class LeavesItsSubscriber(Tiny):
    async def disconnect(self) -> None:
        if self.subscriptions and self.loop is not None:
            self.left = self.loop.create_task(asyncio.Event().wait(), name="tiny-left")
        await super().disconnect()


class LeavesWhatACancelledConnectBegan(Tiny):
    async def connect(self) -> None:
        if self.loop is None:
            self.begun = asyncio.create_task(asyncio.Event().wait(), name="tiny-begun")
            await asyncio.sleep(0)
            self.begun.cancel()
        await super().connect()


class CannotConnectAfterACancelledConnect(Tiny):
    half = False

    async def connect(self) -> None:
        if self.half:
            raise RuntimeError("already connecting")
        self.half = True
        await asyncio.sleep(0)
        self.half = False
        await super().connect()


class LeavesWhatACancelledDisconnectBegan(Tiny):
    async def disconnect(self) -> None:
        if self.loop is not None and self.counts["accepted"]:
            loop, tasks = self.loop, self.tasks
            self.tasks = {loop.create_task(asyncio.sleep(0))}
            await super().disconnect()
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        else:
            await super().disconnect()


class Linked(Tiny):
    """Correct."""

    @property
    def connected(self) -> bool:
        return self.loop is not None


class IsConnectedFromTheBeginning(Linked):
    @property
    def connected(self) -> bool:
        return super().connected or not self.counts["connections"]


class IsNeverConnected(Linked):
    @property
    def connected(self) -> bool:
        return False


class StaysConnected(Linked):
    @property
    def connected(self) -> bool:
        return self.counts["connections"] > 0


class Named(Tiny):
    """Correct."""

    source_id: Any = "tiny"


class HasAnEmptyName(Named):
    source_id = ""


class HasANumberForAName(Named):
    source_id = 7


class ChangesItsName(Named):
    @property
    def source_id(self) -> str:
        return f"tiny-{self.counts['connections']}"

    @source_id.setter
    def source_id(self, name: str) -> None: ...


class EncodesLater(Tiny):
    """It copies a mapping, but not what is inside it."""

    later: Payload | None = None

    def publish_nowait(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None:
        super().publish_nowait(topic, payload, qos, retain=retain)
        if isinstance(payload, dict) and "deep" in payload:
            self.later = self.kept(payload)

    def hand_over(self, topic: str, payload: bytes, retain: bool) -> None:
        encoded = json.dumps(self.later()).encode() if self.later is not None else payload
        super().hand_over(topic, encoded, retain)

    def kept(self, payload: dict[str, Any]) -> Payload:
        copied = dict(payload)
        return lambda: copied


class EncodesLaterWhatIsOutside(EncodesLater):
    """It copies what is inside a mapping, but takes each value of the mapping itself when it sends."""

    def kept(self, payload: dict[str, Any]) -> Payload:
        inside = copy.deepcopy(payload["deep"])
        return lambda: {**payload, "deep": inside}


class Sends(Tiny):
    """It changes an object that was given to it before it encodes it."""

    def change(self, payload: dict[str, Any]) -> dict[str, Any]:
        return payload

    def publish_nowait(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None:
        if isinstance(payload, dict) and "thing" in payload:
            payload = self.change(dict(payload))
        super().publish_nowait(topic, payload, qos, retain=retain)


class SendsNothingInsteadOfAThing(Sends):
    def change(self, payload: dict[str, Any]) -> dict[str, Any]:
        return {}


class SendsNullForNaN(Sends):
    def change(self, payload: dict[str, Any]) -> dict[str, Any]:
        return {**payload, "nan": None}


class SendsNullForAThing(Sends):
    def change(self, payload: dict[str, Any]) -> dict[str, Any]:
        return {**payload, "thing": None}


class SendsAsciiOnly(Sends):
    def change(self, payload: dict[str, Any]) -> dict[str, Any]:
        return {**payload, "text": payload["text"].encode("ascii", "ignore").decode()}


class SendsWithoutControlCharacters(Sends):
    def change(self, payload: dict[str, Any]) -> dict[str, Any]:
        return {**payload, "text": payload["text"].rstrip("\x00")}


class SendsTheTextsOnly(Sends):
    def change(self, payload: dict[str, Any]) -> dict[str, Any]:
        return {key: str(value) for key, value in payload.items()}


INVALID = ["", "a/+", "#", "a\x00b", "a\ud800b", "a" * 65_536]
"""Topics that have to be refused; for each there is a connector that takes it."""


def taking_the_topic(invalid: str) -> type[Tiny]:
    class Takes(Tiny):
        def publish_nowait(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None:
            if topic != invalid:
                super().publish_nowait(topic, payload, qos, retain=retain)

    return Takes


class ChangedByWhatItRefuses(Tiny):
    def publish_nowait(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None:
        try:
            super().publish_nowait(topic, payload, qos, retain=retain)
        except (InvalidTopicError, InvalidPayloadError) as exc:
            self.refused(topic, payload, exc)
            raise

    def refused(self, topic: str, payload: Any, exc: Exception) -> None: ...


class BreaksItsLinkForAnInvalidTopic(ChangedByWhatItRefuses):
    def refused(self, topic: str, payload: Any, exc: Exception) -> None:
        if isinstance(exc, InvalidTopicError):
            self.unlink()
            self.link()


class LosesItsLinkForAnInvalidTopic(ChangedByWhatItRefuses):
    def refused(self, topic: str, payload: Any, exc: Exception) -> None:
        if isinstance(exc, InvalidTopicError):
            self.unlink()


class CountsAnInvalidTopic(ChangedByWhatItRefuses):
    def refused(self, topic: str, payload: Any, exc: Exception) -> None:
        if isinstance(exc, InvalidTopicError):
            self.counts.update(accepted=1)


class SendsAPayloadThatItRefuses(ChangedByWhatItRefuses):
    def refused(self, topic: str, payload: Any, exc: Exception) -> None:
        if isinstance(exc, InvalidPayloadError):
            self.outbox.append((topic, b"{}", False))


def taking_the_payload(kind: type) -> type[Tiny]:
    class Takes(Tiny):
        async def publish(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None:
            if not isinstance(payload, kind):
                await super().publish(topic, payload, qos, retain=retain)

    return Takes


class RaisesBeforeConnect(Tiny):
    async def publish(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None:
        if self.loop is None:
            raise RuntimeError("not connected")
        await super().publish(topic, payload, qos, retain=retain)


class KeepsWhatCameBeforeConnect(Tiny):
    def publish_nowait(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None:
        super().publish_nowait(topic, payload, qos, retain=retain)
        if self.loop is None:
            self.outbox.append((topic, b'{"n": 1}', retain))


class DrainsOneQualityOnly(Tiny):
    lost = 0

    def publish_nowait(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None:
        super().publish_nowait(topic, payload, qos, retain=retain)
        if self.outbox and qos == self.lost:
            self.lossy = getattr(self, "lossy", set()) | {id(self.outbox[-1])}

    def drain(self) -> None:
        lossy: set[int] = getattr(self, "lossy", set())
        self.outbox = type(self.outbox)(message for message in self.outbox if id(message) not in lossy)
        super().drain()


class DrainsOnlyQualityZero(DrainsOneQualityOnly):
    lost = 1


class NowaitTakesAnyTopic(Tiny):
    async def publish(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None:
        super().publish_nowait(topic, payload, qos, retain=retain)

    def publish_nowait(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None:
        if "#" not in topic:
            super().publish_nowait(topic, payload, qos, retain=retain)


class NowaitTakesAnyPayload(NowaitTakesAnyTopic):
    def publish_nowait(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None:
        Tiny.publish_nowait(self, topic, {} if isinstance(payload, str) else payload, qos, retain=retain)


class RefusesNoThread(NowaitTakesAnyTopic):
    def publish_nowait(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None:
        try:
            Tiny.publish_nowait(self, topic, payload, qos, retain=retain)
        except WrongThreadError:
            self.dropped["wrong thread"] += 1


class NeverSaysFlushed(Tiny):
    async def flush(self, timeout: float | None = None) -> bool:
        await super().flush(timeout)
        return False


SOME = {"no reason": 1}

TestCannotSubscribe = against(Life, CannotSubscribe, abilities=TinyHooks.abilities - {Ability.DELIVERY})
TestConnectsTwice = against(Life, ConnectsTwice)
TestPublishesTwiceAfterASecondConnect = against(Life, PublishesTwiceAfterASecondConnect)
TestCannotLeaveBeforeItCame = against(Life, CannotLeaveBeforeItCame)
TestCannotLeaveTwice = against(Life, CannotLeaveTwice)
TestConnectsOnce = against(Life, ConnectsOnce)
TestStaysOnItsFirstLoop = against(Life, StaysOnItsFirstLoop)
TestLeavesItsSubscriber = against(Life, LeavesItsSubscriber)
TestLeavesWhatACancelledConnectBegan = against(Life, LeavesWhatACancelledConnectBegan)
TestCannotConnectAfterACancelledConnect = against(Life, CannotConnectAfterACancelledConnect)
TestLeavesWhatACancelledDisconnectBegan = against(Life, LeavesWhatACancelledDisconnectBegan)
TestLinked = against(Life, Linked, Ability.LINK_STATE)
TestIsConnectedFromTheBeginning = against(Life, IsConnectedFromTheBeginning, Ability.LINK_STATE)
TestIsNeverConnected = against(Life, IsNeverConnected, Ability.LINK_STATE)
TestStaysConnected = against(Life, StaysConnected, Ability.LINK_STATE)
TestNamed = against(Life, Named, Ability.SOURCE)
TestHasAnEmptyName = against(Life, HasAnEmptyName, Ability.SOURCE)
TestHasANumberForAName = against(Life, HasANumberForAName, Ability.SOURCE)
TestChangesItsName = against(Life, ChangesItsName, Ability.SOURCE)

TestEncodesLater = against(Publishing, EncodesLater)
TestEncodesLaterWhatIsOutside = against(Publishing, EncodesLaterWhatIsOutside)
TestSendsNothingInsteadOfAThing = against(Publishing, SendsNothingInsteadOfAThing)
TestSendsNullForNaN = against(Publishing, SendsNullForNaN)
TestSendsNullForAThing = against(Publishing, SendsNullForAThing)
TestSendsAsciiOnly = against(Publishing, SendsAsciiOnly)
TestSendsWithoutControlCharacters = against(Publishing, SendsWithoutControlCharacters)
TestSendsTheTextsOnly = against(Publishing, SendsTheTextsOnly)
TestTakesAnEmptyTopic, TestTakesALevel, TestTakesAll, TestTakesNul, TestTakesHalf, TestTakesALongTopic = (
    against(Publishing, taking_the_topic(topic)) for topic in INVALID
)
TestBreaksItsLinkForAnInvalidTopic = against(Publishing, BreaksItsLinkForAnInvalidTopic)
TestLosesItsLinkForAnInvalidTopic = against(Publishing, LosesItsLinkForAnInvalidTopic)
TestCountsAnInvalidTopic = against(Publishing, CountsAnInvalidTopic)
TestSendsAPayloadThatItRefuses = against(Publishing, SendsAPayloadThatItRefuses)
TestTakesAText, TestTakesBytes, TestTakesANumber, TestTakesAList = (
    against(Publishing, taking_the_payload(kind)) for kind in (str, bytes, int, list)
)
TestRaisesBeforeConnect = against(Publishing, RaisesBeforeConnect)
TestKeepsWhatCameBeforeConnect = against(Publishing, KeepsWhatCameBeforeConnect)
TestDrainsOneQualityOnly = against(Publishing, DrainsOneQualityOnly)
TestDrainsOnlyQualityZero = against(Publishing, DrainsOnlyQualityZero)
TestNowaitTakesAnyTopic = against(Publishing, NowaitTakesAnyTopic)
TestNowaitTakesAnyPayload = against(Publishing, NowaitTakesAnyPayload)
TestRefusesNoThread = against(Publishing, RefusesNoThread)
TestNeverSaysFlushed = against(Publishing, NeverSaysFlushed)
(
    TestCountsLessThanItTook,
    TestCountsLessThanItSent,
    TestCountsNothingReplaced,
    TestIsNeverLinked,
    TestCountsASecondLink,
    TestCountsADrop,
    TestCountsAllAsDropped,
    TestLetsSomeWaitForEver,
) = (
    against(Publishing, counting_wrongly(**changes))
    for changes in (
        {
            "accepted": lambda counts: counts.accepted // 2,
            "sent": lambda counts: counts.accepted // 2 - counts.pending,
        },
        {"sent": lambda counts: counts.sent // 2},
        {"sanitized": lambda counts: 0},
        {"linked": lambda counts: False},
        {"connections": lambda counts: counts.connections * 2},
        {"dropped": lambda counts: SOME, "accepted": lambda counts: counts.accepted + 1},
        {"dropped": lambda counts: {"lost": counts.sent}, "sent": lambda counts: 0},
        {"pending": lambda counts: counts.accepted, "sent": lambda counts: 0},
    )
)
