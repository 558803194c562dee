"""Checks of a broker's configuration, of its listeners, and of this machine. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cascade.interfaces.broker_programs import DURABLE, QUEUED_MESSAGES, SESSIONS_END
from cascade.ops._doctor.facts import Facts, Target
from cascade.ops._doctor.finding import Finding

_SAVED_WITHIN = 10
"""Seconds between two writes of the store up to which nothing is said."""
MANY_SESSIONS = 50
"""Sessions of clients that are away from which on there are too many."""
_EXPIRATION = SESSIONS_END.partition(" ")[0]
MOSQUITTO, _NATS_SERVER = "mosquitto", "nats-server"


def broker_findings(facts: Facts) -> Iterator[Finding]:
    """Yield what is wrong with the configuration of the broker, and with this machine."""
    program = facts.configuration.program if facts.configuration is not None else ""
    if facts.configuration is not None and program == MOSQUITTO:
        yield from _mosquitto(facts.configuration.settings)
    elif program != _NATS_SERVER:
        # that one writes each message; a container's proxy hides the broker
        yield from _unseen(facts.target)
    yield from _sessions(facts)
    if facts.websocket is False:
        yield Finding(
            "websocket",
            "no listener for MQTT over WebSocket was found on the usual ports",
            "a page in a browser cannot connect to this broker directly",
            "use the relay of cascade web; add a listener with 'protocol websockets' only if every client needs a password",
            ("listener 8080 127.0.0.1", "protocol websockets"),
            warning=True,
        )
    if facts.sqlite:
        yield Finding(
            "sqlite",
            f"this Python has SQLite {facts.sqlite}, which has the WAL-reset fault",
            "a cache file that several processes write at once may lose values, which are then computed again",
            "use SQLite 3.51.3, 3.50.7 or 3.44.6, or give each process a cache file of its own",
            warning=True,
        )


def _unseen(target: Target) -> Iterator[Finding]:
    if not target.nats:
        yield Finding(
            "persistence_unknown",
            "whether the broker keeps retained messages on disk cannot be seen from here",
            "without that, a restart of the broker lifts every constraint",
            f"check it on the broker's machine (mosquitto: {', '.join(DURABLE)})",
            DURABLE,
            warning=True,
        )


def _is_on(settings: Mapping[str, str], name: str) -> bool:
    """Return whether a setting is true: mosquitto accepts true, false, 1 and 0."""
    return settings.get(name) in ("true", "1")


def _autosave(settings: Mapping[str, str]) -> Iterator[Finding]:
    """Judge how often mosquitto writes its store: after so many changes, or after so many seconds."""
    interval = settings.get("autosave_interval", "1800")
    number = int(interval) if interval.isdecimal() else 0
    if _is_on(settings, "autosave_on_changes"):
        bound, found = 1, f"after every {interval} changes only (autosave_on_changes true)"
    else:
        bound, found = _SAVED_WITHIN, f"every {interval} s only"
    if number == 0:
        found = "when it ends, and not when it is killed (autosave_interval 0)"
    if not 0 < number <= bound:
        yield Finding(
            "autosave",
            f"the broker writes its store {found}",
            "when it is killed, constraints since then are lost",
            "have it write every second, and restart it",
            DURABLE[1:],
            warning=True,
        )


def _sessions(facts: Facts) -> Iterator[Finding]:
    """Judge the sessions that clients have left: any user who may read can leave hundreds."""
    settings = facts.configuration.settings if facts.configuration is not None else {}
    mosquitto = facts.configuration is not None and facts.configuration.program == MOSQUITTO
    stored = facts.stored_sessions or 0
    if stored >= MANY_SESSIONS:
        limit = settings.get(_EXPIRATION, "no limit of time is known")
        yield Finding(
            "sessions_stored",
            f"the broker keeps {stored} sessions of clients that are away ({_EXPIRATION}: {limit})",
            "it queues each message for all of them: 200 make it 240 times slower",
            "set a limit, end those without use, and restart the broker",
            (SESSIONS_END,),
        )
    elif mosquitto and _EXPIRATION not in settings:
        yield Finding(
            "sessions",
            f"the broker keeps the sessions of clients that are away for ever ({_EXPIRATION} is not set)",
            "every user who may read can leave hundreds, which make the broker slow, also after a restart",
            "set a limit, and restart the broker",
            (SESSIONS_END,),
            warning=True,
        )


def _mosquitto(settings: Mapping[str, str]) -> Iterator[Finding]:
    if not _is_on(settings, "persistence"):
        yield Finding(
            "persistence",
            "the broker keeps retained messages in memory only (persistence false)",
            "a restart of the broker lifts every constraint: a paused job runs again",
            "switch persistence on, and restart the broker",
            DURABLE,
        )
    else:
        yield from _autosave(settings)
    queued = settings.get("max_queued_messages", "1000")
    if queued == "0":
        yield Finding(
            "queue_unlimited",
            "the broker has no limit of queued messages (max_queued_messages 0)",
            "mosquitto 2.0.11 ends the connection of a client whose message it denies, and 2.0.16 drops every message",
            "set a limit, and restart the broker",
            (f"max_queued_messages {QUEUED_MESSAGES}",),
        )
    elif queued.isdecimal() and int(queued) < 10_000:
        yield Finding(
            "queue",
            f"the broker keeps at most {queued} messages for a client that is slow (max_queued_messages)",
            "in a burst, watchers and collectors lose events",
            "raise the limit, and restart the broker",
            (f"max_queued_messages {QUEUED_MESSAGES}",),
            warning=True,
        )
