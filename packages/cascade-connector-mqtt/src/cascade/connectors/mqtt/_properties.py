"""Properties that only MQTT 5 transmits with a message or a subscription, in paho's objects."""

from __future__ import annotations

from typing import Any

from cascade.interfaces.errors import InvalidTopicError
from cascade.interfaces.topics import check_topic, is_request
from cascade.interfaces.traces import read_traceparent
from cascade.interfaces.watch import ReplyTo

try:
    from aiomqtt.client import Properties as _Properties  # type: ignore[attr-defined]  # paho's
    from aiomqtt.client import SubscribeOptions as _SubscribeOptions  # type: ignore[attr-defined]
except ImportError:  # the connector's constructor says what to install
    pass

_PUBLISH = 3
"""The type of the packet; MQTT 5.0, section 2.1.2."""


def expires_in(message: Any) -> float | None:
    """Return the seconds that a message has left; None if it has none, or came with MQTT 3.1.1."""
    properties = getattr(message, "properties", None)
    left = None if properties is None else getattr(properties, "MessageExpiryInterval", None)
    return float(left) if isinstance(left, int) else None


def reply_to(message: Any) -> ReplyTo | None:
    """Return where the sender expects an answer: MQTT 5.0, section 4.10; None if nowhere, or if nothing can be published there."""
    properties = getattr(message, "properties", None)
    topic = None if properties is None else getattr(properties, "ResponseTopic", None)
    if not isinstance(topic, str):
        return None
    try:
        check_topic(topic)
    except InvalidTopicError:
        return None
    correlation = getattr(properties, "CorrelationData", None)
    return ReplyTo(topic, correlation if isinstance(correlation, bytes) else None)


def traceparent(message: Any) -> str:
    """Return the trace of the sender: a user property, as W3C's "Trace Context: MQTT protocol" has it; empty if there is none."""
    pairs = getattr(getattr(message, "properties", None), "UserProperty", ())
    return next((read_traceparent(value) for name, value in pairs if name == "traceparent"), "")


def of_answer(correlation: bytes) -> Any:
    """Return the properties of an answer."""
    properties: Any = _Properties(_PUBLISH)  # type: ignore[no-untyped-call]
    properties.CorrelationData = correlation
    return properties


def size_of_answer(correlation: bytes) -> int:
    """Return the bytes of the properties of an answer, without their length."""
    return 3 + len(correlation)


def with_options(filters: list[tuple[str, int]]) -> list[tuple[str, Any]]:
    """Return what to subscribe to: of requests the broker says also in live messages whether they are retained.

    MQTT 5.0, section 3.8.3.1: without that option a retained message looks like any other until the next subscription.
    """
    return [
        (each, _SubscribeOptions(qos=qos, retainAsPublished=True) if is_request(each) else qos)
        for each, qos in filters
    ]
