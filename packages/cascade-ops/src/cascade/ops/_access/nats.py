"""Access rules and a whole configuration for the clients of a nats-server, of MQTT and its own, as text. No I/O.

nats-server converts a topic of MQTT to a subject and checks that: ``/`` becomes ``.``, a dot becomes ``//``, ``+`` becomes
``*``, ``#`` becomes ``>``, and an empty level ``/``; it refuses a topic with a space. Its own clients use the subjects of ``cascade.interfaces.subjects``, keys of the bucket, and
the few requests to JetStream that a watch needs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from cascade.interfaces.access import Rule, Verb, permits
from cascade.interfaces.errors import ConfigurationError
from cascade.interfaces.subjects import subjects_of
from cascade.interfaces.topics import ack_topic, constraint_topic, status_topic
from cascade.ops._access.mosquitto import MQTT_PORT, MQTTS_PORT, WEBSOCKET_PORT, WSS_PORT, Files

NATS_PORT = 4222
_SESSIONS_END = "336h"
_WILDCARDS = {"+": "*", "#": ">"}
_BUCKET = "cascade"
_NOT_KEPT = ("cascade/telemetry/", "cascade/requests/", "cascade/responses/", "cascade/leases/")
"""What the server's own clients never keep in the bucket."""
_TRIED = "cascade/sync/"
"""What only ``cascade doctor`` keeps there: a user who may write no other key must not write this one, as a message to any
key can empty the bucket."""
_PAUSE = constraint_topic("global", "pause")
_VERBS: dict[Verb, str] = {"write": "publish", "read": "subscribe"}
_REQUESTS = "cascade/requests/"
_ANSWERS = 'allow_responses: { max: 1, expires: "24h" }'
"""Of a user who answers requests: one message to the inbox that a request names, for as long as its run may take."""


class NatsFiles(Files):
    """Where the files of a configuration stand; the rules are part of it."""

    __slots__ = ()

    @property
    def configuration(self) -> Path:
        """The file that nats-server is started with."""
        return self.folder / "nats-server.conf"

    @property
    def rules(self) -> Path:
        """The same file."""
        return self.configuration


def subject_of(topic_filter: str) -> str:
    """Return the subject, or the pattern of subjects, that nats-server makes of a topic filter.

    >>> subject_of("cascade/constraints/#"), subject_of("cascade/state/v1.2/+"), subject_of("/site//power")
    ('cascade.constraints.>', 'cascade.state.v1//2.*', '/.site./.power')

    :raises ConfigurationError: if nats-server would take a level for a wildcard.
    """
    if {"*", ">"} & {*topic_filter.split("/")}:
        raise ConfigurationError(
            "access rules", f"{topic_filter!r} has a level that nats-server takes for a wildcard"
        )
    levels = (_WILDCARDS.get(level) or level.replace(".", "//") or "/" for level in topic_filter.split("/"))
    return ".".join(levels)


def authorization(rules: Iterable[Rule], passwords: Mapping[str, str] | None = None) -> list[str]:
    """Return the lines of a block ``authorization``; what it does not permit is denied.

    :param passwords: by user; without them the server takes each from an environment variable.
    :raises ConfigurationError: if two users would share such a variable, or a topic has no subject.
    """
    rules = list(rules)
    subjects: dict[str, dict[Verb, dict[str, None]]] = {}
    keepers = {rule.user for rule in rules if rule.verb == "write" and _is_kept(rule.topic_filter)}
    services = {
        rule.user for rule in rules if rule.verb == "read" and rule.topic_filter.startswith(_REQUESTS)
    }
    for rule in rules:
        found = subjects.setdefault(rule.user, {"write": {}, "read": {}})[rule.verb]
        if " " not in rule.topic_filter:
            found[subject_of(rule.topic_filter)] = None
        # which matches the level above, too
        if rule.verb == "read" and rule.topic_filter.endswith("/#"):
            found[subject_of(rule.topic_filter.removesuffix("/#"))] = None
        found.update(dict.fromkeys(_native(rule, keeps=rule.user in keepers)))
    for user, verbs in subjects.items():
        verbs["write"].update(dict.fromkeys(_requests(rules, user)))
        verbs["read"][f"_INBOX.{user}.>"] = None
    variables = {} if passwords is not None else password_variables(subjects)
    lines = ["authorization {", "  users = ["]
    for user, verbs in subjects.items():
        password = json.dumps(passwords[user]) if passwords is not None else f"${variables[user]}"
        lines += ["    {", f"      user: {json.dumps(user)}", f"      password: {password}"]
        lines.append("      permissions: {")
        for verb, name in _VERBS.items():
            lines.append(f"        {name}: {{ allow: [")
            lines += [f"          {json.dumps(each, ensure_ascii=False)}" for each in verbs[verb]]
            lines.append("        ] }")
        if user in services:
            lines.append(f"        {_ANSWERS}")
        lines += ["      }", "    }"]
    return [*lines, "  ]", "}"]


def _is_kept(topic_filter: str) -> bool:
    return not topic_filter.startswith((*_NOT_KEPT, _TRIED))


def _native(rule: Rule, *, keeps: bool) -> Iterator[str]:
    """Yield the subjects of a rule for the server's own clients, and the keys of the bucket that it may write."""
    for subject in subjects_of(rule.topic_filter):
        yield subject
        if rule.verb == "write" and keeps and not rule.topic_filter.startswith(_NOT_KEPT):
            yield f"$KV.{_BUCKET}.{subject}"


def _requests(rules: Iterable[Rule], user: str) -> Iterator[str]:
    """Yield the requests to JetStream of a user: to look into the bucket and to follow it, and to make it.

    None of them changes the bucket: every reader needs them, and an observer gets no further ones.
    """
    for stream in (f"KV_{_BUCKET}", _BUCKET, "$MQTT_rmsgs"):
        yield f"$JS.API.STREAM.INFO.{stream}"
    # not to delete one: it may be another user's, and that of a reader who is gone ends by itself
    yield f"$JS.API.CONSUMER.CREATE.KV_{_BUCKET}.*"
    yield f"$JS.FC.KV_{_BUCKET}.>"
    if permits(rules, user, "write", status_topic(user)) or permits(rules, user, "write", _PAUSE):
        yield from (f"$JS.API.STREAM.CREATE.{stream}" for stream in (f"KV_{_BUCKET}", _BUCKET))
    if permits(rules, user, "write", ack_topic(user)):
        yield f"$JS.API.CONSUMER.CREATE.{_BUCKET}.*"
        yield f"$JS.API.CONSUMER.MSG.NEXT.{_BUCKET}.*"
        yield f"$JS.ACK.{_BUCKET}.>"


def password_variables(users: Iterable[str]) -> dict[str, str]:
    """Return the environment variable of each user from which nats-server takes a password that is not in its file.

    :raises ConfigurationError: if two users would share one, and so a password.
    """
    owners: dict[str, str] = {}
    for user in users:
        variable = f"PASSWORD_{user.replace('-', '_')}"
        if owners.setdefault(variable, user) != user:
            problem = f"{owners[variable]!r} and {user!r} would share the password in {variable}"
            raise ConfigurationError("access rules", f"{problem}; rename one, or pass --config FOLDER")
    return {user: variable for variable, user in owners.items()}


def configuration(
    files: Files, rules: Iterable[Rule], passwords: Mapping[str, str], *, tls: bool
) -> list[str]:
    """Return the lines of a configuration file.

    :param tls: listen on every address, with the certificate. Without it only this machine can connect.
    """
    host = "0.0.0.0" if tls else "127.0.0.1"
    secured = (
        f"tls {{ cert_file: {json.dumps(str(files.certificate))}, key_file: {json.dumps(str(files.key))} }}"
    )
    mqtt = f"port: {MQTTS_PORT}, {secured}" if tls else f"port: {MQTT_PORT}"
    # as in mosquitto's, a session that is not used ends after 14 days
    mqtt += f", consumer_inactive_threshold: {json.dumps(_SESSIONS_END)}"
    web = f"port: {WSS_PORT}, {secured}" if tls else f"port: {WEBSOCKET_PORT}, no_tls: true"
    return [
        "# Written by cascade acl, which replaces this file.",
        'server_name: "cascade"',
        f'listen: "127.0.0.1:{NATS_PORT}"',
        "",
        "# Constraints are retained messages; JetStream writes each one to disk.",
        f"jetstream {{ store_dir: {json.dumps(str(files.store))} }}",
        f'mqtt {{ host: "{host}", {mqtt} }}',
        f'websocket {{ host: "{host}", {web} }}',
        "",
        *authorization(rules, passwords),
    ]
