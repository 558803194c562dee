"""The subjects and keys of filters. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable

from cascade.interfaces.filters import disjoint, overlap
from cascade.interfaces.subjects import subject_of, subjects_of, topic_of
from cascade.interfaces.topics import check_topic, status_topic
from cascade.interfaces.traces import read_traceparent
from cascade.interfaces.watch import ReplyTo
from cascade.transport.incoming.message import UNDECODABLE, DeliveryCounts

MAX_SUBJECT = 2_048
"""Bytes: nats-server takes 4,096 for one line of its protocol, and a line holds two subjects and more."""
WILL = ".=will"
"""The end of the key that an unnamed process keeps alive; no topic has it, as ``=`` stands before two digits."""
_STATUS = status_topic("") + "+"
_INBOX = "_INBOX"
"""How the subjects for answers begin; the prefix of a user of its own usually does, too."""
# the latter is an escaped $, which no wildcard matches
_INTERNAL = ("$", "_INBOX.", "=24")
_TRACE = re.compile(rb"\r\ntraceparent:[ \t]*([0-9a-f-]+)[ \t]*\r\n", re.IGNORECASE)


def cover(filters: Iterable[str]) -> list[str]:
    """Return keys that match at least what the filters match, of which no two match the same.

    A reader of the status of processes also gets the keys of unnamed ones, which are one level below.

    >>> cover(["a/b", "a/#", "c", "cascade/status/x"])
    ['c', 'a', 'a.>', 'cascade.status.x', 'cascade.status.x.>']
    """
    wide = (f"{each}/#" if overlap(each, _STATUS) and not each.endswith("#") else each for each in filters)
    return [subject for each in disjoint(wide) for subject in subjects_of(each)]


def is_hidden(subject: str) -> bool:
    """Return whether a subject is one of the server or of a client library, or of a topic that begins with ``$``."""
    return subject.startswith(_INTERNAL)


def reply_of(reply: str) -> ReplyTo | None:
    """Return where the answer to a message is expected, from its reply subject.

    None if no topic has this subject: such as those of JetStream's own interface, which obeys what is sent there.

    >>> reply_of("_INBOX.a.1"), reply_of("$JS.API.STREAM.PURGE.x")
    (ReplyTo(topic='_INBOX/a/1', correlation=None, is_inbox=True), None)
    """
    try:
        topic = check_topic(topic_of(reply))
    except ValueError:
        return None
    if subject_of(topic) != reply:
        return None
    return ReplyTo(topic, is_inbox=reply.startswith(_INBOX))


def trace_of(headers: bytes | None) -> str:
    r"""Return the trace of the sender from the raw headers of a message; empty if there is none.

    >>> trace_of(b"NATS/1.0\r\nTraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n")
    '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
    """
    found = None if headers is None else _TRACE.search(headers)
    return "" if found is None else read_traceparent(found[1].decode())


def arrived_topic(subject: str, delivery: DeliveryCounts) -> str | None:
    """Count a message that has arrived, and return its topic; None if it is discarded.

    Its subject is not UTF-8, or another spelling of a topic's, which passes the permissions of a server.
    """
    delivery.received += 1
    try:
        topic = topic_of(subject)
        if subject_of(topic) == subject:
            return topic
    except ValueError:
        pass
    delivery.discarded[UNDECODABLE] += 1
    return None
