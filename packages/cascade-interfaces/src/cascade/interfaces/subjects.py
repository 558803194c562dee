"""Topics as NATS subjects. No I/O.

``/`` becomes ``.``; every byte of a level outside ``A-Z a-z 0-9 _ -`` is written as ``=XX``, and an empty level
as ``=``. ``+`` is ``*``; ``#`` is ``>``, which does not match the level above, so that a filter has two subjects.
"""

from __future__ import annotations

import re
from functools import lru_cache

_PLAIN = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPED = re.compile(r"=([0-9A-F]{2})")
_WILD = {"+": "*", "#": ">"}


@lru_cache(maxsize=4096)
def subject_of(topic: str) -> str:
    """Return the subject of a topic.

    >>> subject_of("cascade/status/line 3")
    'cascade.status.line=203'
    """
    return ".".join(map(_escape, topic.split("/")))


@lru_cache(maxsize=4096)
def topic_of(subject: str) -> str:
    """Return the topic of a subject.

    :raises ValueError: if it is not UTF-8.
    """
    return "/".join(map(_unescape, subject.split(".")))


def subjects_of(topic_filter: str) -> list[str]:
    """Return the subjects that together match what a filter matches; each message matches one of them.

    >>> subjects_of("a/+/#")
    ['a.*', 'a.*.>']
    """
    tokens = [_WILD.get(level) or _escape(level) for level in topic_filter.split("/")]
    above = tokens[-1] == ">" and len(tokens) > 1
    return [".".join(tokens[:-1]), ".".join(tokens)] if above else [".".join(tokens)]


def _escape(level: str) -> str:
    if _PLAIN.fullmatch(level):
        return level
    if not level:
        return "="
    return "".join(
        each if _PLAIN.fullmatch(each) else "".join(f"={byte:02X}" for byte in each.encode())
        for each in level
    )


def _unescape(token: str) -> str:
    if "=" not in token:
        return token
    if token == "=":
        return ""
    raw = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), token).encode("latin-1")
    return raw.decode()
