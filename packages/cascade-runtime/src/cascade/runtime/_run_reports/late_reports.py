"""The last reports of a process that had no link, as they are published after its end. No I/O.

They are what the process would have published itself. The retained messages of a later process of the same name stay as they are, but for how
the earlier runs ended.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cascade.interfaces.topics import state_topic, status_topic
from cascade.interfaces.wire import UndecodableMessageError, decode_payload, encode_payload
from cascade.runtime._run_reports.ended_runs import ended_report
from cascade.runtime._run_reports.report_bodies import recent_rows
from cascade.runtime._run_reports.run_history import RunHistory
from cascade.transport.earlier_runs import EarlierRuns
from cascade.wire.message import to_wire
from cascade.wire.reading import seconds

_HEAD = ("v", "source", "session", "presence")


def late_reports(
    source: str, kept: Mapping[str, str], held: Mapping[str, bytes]
) -> dict[str, Mapping[str, Any]] | None:
    """Return the messages that a broker lacks, by topic; None while another process of the name is online.

    :param kept: reports of the process that has ended, by topic.
    :param held: retained messages, by topic.
    """
    topic, status_at = state_topic(source, "runs"), status_topic(source)
    own, last, status = (_decoded(each) for each in (kept.get(topic), held.get(topic), held.get(status_at)))
    is_online, offline = status.get("status") == "online", _decoded(kept.get(status_at))
    if is_online and status.get("session") != offline.get("session"):
        return None
    base, found = {**own, "runs": []}, dict[str, Mapping[str, Any]]()
    if _time(last) > _time(own):
        # a later process has reported, or this one once more: the runs there go on, or are lost, whatever became of these
        base, held = last, {**held, topic: json.dumps({**last, "runs": []}).encode()}
    else:
        held_offline = {status_at} if status and not is_online else set[str]()
        found = {each: _decoded(text) for each, text in kept.items() if each not in held_offline}
    history = _history(source, kept, held)
    found[topic] = {**base, "recent": [to_wire(row) for row in recent_rows(history)[0]]}
    if history.whole:
        head = {key: base.get(key, "") for key in _HEAD}
        found[state_topic(source, "ended")] = ended_report(history.whole, head=head, now=_time(base))
    return found


def are_held(messages: Mapping[str, Mapping[str, Any]], held: Mapping[str, bytes]) -> bool:
    """Return whether a broker holds messages that were published."""
    return all(
        _decoded(held.get(topic, b"")) == _decoded(encode_payload(body)[0])
        for topic, body in messages.items()
    )


def _history(source: str, kept: Mapping[str, str], held: Mapping[str, bytes]) -> RunHistory:
    """Return the runs that have ended: those that a broker knows, and those of a process whose reports were kept."""
    known, own = EarlierRuns(source), EarlierRuns(source)
    known.take_all(held)
    own.take_all({topic: text.encode() for topic, text in kept.items()})
    history = RunHistory()
    history.carry_over(known.rows or ())
    history.carry_over_whole(known.ends)
    history.learn(own.rows or (), own.ends)
    return history


def _time(report: Mapping[str, Any]) -> float:
    return seconds(str(report.get("ts", ""))) or 0.0


def _decoded(payload: str | bytes | None) -> dict[str, Any]:
    try:
        return decode_payload(payload.encode() if isinstance(payload, str) else payload or b"")
    except UndecodableMessageError:
        return {}
