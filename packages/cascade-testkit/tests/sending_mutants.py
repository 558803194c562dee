"""Connectors that send now or never, a correct one and others that are wrong in one way each. Run by ``test_suite_is_tested.py``."""

from typing import Any

from tiny_contract import against
from watcher import Watcher

from cascade.interfaces import InvalidPayloadError, InvalidTopicError
from cascade.interfaces.topics import check_topic
from cascade.interfaces.wire import encode_payload
from cascade.testkit.connector import Ability, SendingNow


class NowSender(Watcher):
    """Correct."""

    def send_nowait(self, topic: str, payload: Any, *, retain: bool = False) -> bool:
        check_topic(topic)
        if not isinstance(payload, dict):
            raise InvalidPayloadError(topic, payload)
        if self.loop is not None:
            self.check_thread()
        if self.linked:
            self.send_one(topic, encode_payload(payload)[0].encode(), retain)
        return self.linked

    def send_one(self, topic: str, payload: bytes, retain: bool) -> None:
        self.board.send(topic, payload, retain)


class KeepsWhatItCannotSendNow(NowSender):
    def send_nowait(self, topic: str, payload: Any, *, retain: bool = False) -> bool:
        sent = super().send_nowait(topic, payload, retain=retain)
        if not sent:
            self.publish_nowait(topic, payload, 1, retain=retain)
        return sent


class SaysAlwaysSent(NowSender):
    def send_nowait(self, topic: str, payload: Any, *, retain: bool = False) -> bool:
        return super().send_nowait(topic, payload, retain=retain) or True


class SendsRetainedLater(NowSender):
    def send_one(self, topic: str, payload: bytes, retain: bool) -> None:
        if not retain:
            super().send_one(topic, payload, retain)
            return
        self.outbox.append((topic, payload, retain))
        self.wake.set()


class SendsNowFromAnyThread(NowSender):
    def check_thread(self) -> None:
        pass


class SendNowTakesAnything(NowSender):
    def send_nowait(self, topic: str, payload: Any, *, retain: bool = False) -> bool:
        try:
            return super().send_nowait(topic, payload, retain=retain)
        except (InvalidTopicError, InvalidPayloadError):
            return True


TestNowSender = against(SendingNow, NowSender, Ability.WATCH, Ability.SEND_NOW)
TestKeepsWhatItCannotSendNow = against(SendingNow, KeepsWhatItCannotSendNow, Ability.WATCH, Ability.SEND_NOW)
TestSaysAlwaysSent = against(SendingNow, SaysAlwaysSent, Ability.WATCH, Ability.SEND_NOW)
TestSendsRetainedLater = against(SendingNow, SendsRetainedLater, Ability.WATCH, Ability.SEND_NOW)
TestSendsNowFromAnyThread = against(SendingNow, SendsNowFromAnyThread, Ability.WATCH, Ability.SEND_NOW)
TestSendNowTakesAnything = against(SendingNow, SendNowTakesAnything, Ability.WATCH, Ability.SEND_NOW)
