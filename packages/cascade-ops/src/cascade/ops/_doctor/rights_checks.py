"""Checks of what this client may read and write. No I/O."""

from __future__ import annotations

import json
from collections.abc import Iterator

from cascade.interfaces.access import Verb
from cascade.interfaces.subjects import subjects_of
from cascade.ops._doctor.facts import Facts, Right
from cascade.ops._doctor.finding import Finding

PRESENCE, EVENTS, PROGRESS, STEERING, SYNC, OWN_SYNC = (
    "presence",
    "events",
    "progress",
    "steering",
    "sync",
    "own sync",
)
"""Names of the probes."""

_ACL = "cascade acl --engine NAME --operator NAME --config FOLDER"


def rights_findings(facts: Facts) -> Iterator[Finding]:
    """Yield what is wrong with rights."""
    if facts.rights:
        yield from _tried(facts)
    yield from _unread(facts)


def _tried(facts: Facts) -> Iterator[Finding]:
    limited = not facts.rights[PRESENCE].returned
    if not limited:
        yield _unlimited(facts)
    if facts.cut:
        yield _cut()
    yield from _needed(facts)
    if limited and facts.target.user:
        yield from _of_an_engine(facts)


def _unlimited(facts: Facts) -> Finding:
    user = facts.target.user
    return Finding(
        "no_rules",
        f"{f'the user {user!r}' if user else 'a client without a user'} may publish under the name of any engine",
        "each client that reaches the broker can pause, cancel and impersonate every engine",
        "write access rules: cascade acl prints them, and with --config a whole configuration",
        (f"{_ACL}{' --for nats' if facts.target.nats else ''}",),
        warning=facts.target.local or bool(user),
    )


def _cut() -> Finding:
    return Finding(
        "denial_cuts_link",
        "the broker ended the connection when it denied a message",
        "each denied message interrupts telemetry and control of an engine; mosquitto 2.0.11 does so with max_queued_messages 0",
        "set a limit, or update mosquitto to 2.0.22, and restart it",
        ("max_queued_messages 65000",),
    )


def _needed(facts: Facts) -> Iterator[Finding]:
    sync = [facts.rights[name] for name in (SYNC, OWN_SYNC) if name in facts.rights]
    if not facts.target.nats and sync and not any(each.returned for each in sync) and not facts.cut:
        rule = f"topic readwrite cascade/sync/{facts.target.user or '+'}/+"
        yield Finding(
            "sync_denied",
            "a message on this user's sync topic does not come back",
            "engines and tools cannot know when all constraints have arrived: an engine starts without control",
            f"add the rule: {rule}",
            (f"user {facts.target.user}", rule) if facts.target.user else (rule,),
        )
    events, progress = facts.rights.get(EVENTS), facts.rights.get(PROGRESS)
    if events is not None and progress is not None and events.written and progress.refused:
        yield Finding(
            "progress_denied",
            "this user may publish events, but not progress",
            "observers see no progress, log lines or data of its runs",
            *_adding(facts, "write", _telemetry_filter(events)),
        )
    steering = facts.rights.get(STEERING)
    if steering is not None and not steering.returned and not facts.keeps_nothing:
        yield _steering(facts, refused=steering.refused)


def _telemetry_filter(events: Right) -> str:
    return f"{events.topic.rpartition('/')[0].rpartition('/')[0]}/+/+"


def rule_of(facts: Facts, verb: Verb, topic_filter: str) -> str:
    """Return the rule that permits something, as the broker's configuration has it."""
    if facts.target.nats:
        return f"{'publish' if verb == 'write' else 'subscribe'}: {json.dumps(subjects_of(topic_filter)[-1])}"
    return f"topic {verb} {topic_filter}"


def _adding(facts: Facts, verb: Verb, topic_filter: str) -> tuple[str, tuple[str, ...]]:
    """Return the remedy that adds a rule, and its steps."""
    rule = rule_of(facts, verb, topic_filter)
    return f"add the rule: {rule}", (rule,)


def _steering(facts: Facts, *, refused: bool) -> Finding:
    denied = "the broker denies a constraint of this user" if refused else "a constraint does not come back"
    rules = (rule_of(facts, "write", "cascade/constraints/#"), rule_of(facts, "read", "cascade/#"))
    return Finding(
        "steering_denied",
        denied,
        "this user cannot steer single engines; that is right for every role but an operator",
        f"for an operator, add the rules: {', and '.join(rules)}",
        rules,
    )


def _of_an_engine(facts: Facts) -> Iterator[Finding]:
    """Yield what keeps an engine with these settings from being seen: rules know it by its user name."""
    user, name = facts.target.user, facts.target.source_id
    events = facts.rights.get(EVENTS)
    if name and name != user:
        yield Finding(
            "name_is_not_user",
            f"the engine's name is {name!r}, its user {user!r}",
            "rules know an engine by its user: they deny its presence and reports, and its run starts uncontrolled",
            f"use one name: ?source_id={user}, or log in as {name!r}",
        )
    elif not name and events is not None and events.written:
        if not events.returned and not events.refused and facts.login is not None and not facts.login.mqtt5:
            return  # MQTT 3.1.1 does not say whether it was accepted
        yield Finding(
            "engine_without_name",
            f"{user!r} is the user of an engine, and no name is set",
            "rules know an engine by its user: they deny the reports of an engine without a name",
            f"pass ?source_id={user}, or set CASCADE_SOURCE_ID",
            (f"export CASCADE_SOURCE_ID={user}",),
        )
    if name and events is not None and events.refused:
        yield Finding(
            "telemetry_denied",
            "the broker denies telemetry of this project",
            "events of this engine are lost",
            *_adding(facts, "write", _telemetry_filter(events)),
        )


def _unread(facts: Facts) -> Iterator[Finding]:
    for topic_filter in facts.unread:
        steers = topic_filter.startswith("cascade/constraints")
        yield Finding(
            "read_denied",
            f"the broker refuses a subscription to {topic_filter}",
            "engines of this user obey no constraint" if steers else "this user sees no engines",
            *_adding(facts, "read", topic_filter),
            warning=not steers,
        )
