"""Who may publish on a topic, by the configuration of a mosquitto on this machine. No I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Self

from cascade.interfaces.topics import matches

NO_USER = "clients without a user"
EVERY_USER = "every user"
EVERYBODY = "everybody"
_WRITES = ("write", "readwrite")


class _Rules(NamedTuple):
    """What one user may write, by filters."""

    permitted: list[str]
    denied: list[str]

    def permit(self, topic: str) -> bool:
        return any(matches(each, topic) for each in self.permitted) and not any(
            matches(each, topic) for each in self.denied
        )


class Starters(NamedTuple):
    """The users of a mosquitto, and what each may write."""

    rules: Mapping[str, _Rules]
    """By user; :data:`NO_USER`, :data:`EVERY_USER` and :data:`EVERYBODY` are no names of one."""

    @classmethod
    def of_mosquitto(cls, settings: Mapping[str, str], access: Iterable[str] | None) -> Self | None:
        """Return what the settings say; None if they do not show it.

        :param access: the lines of the access list; None if there is none, or it cannot be read.
        """
        if (access is None and "acl_file" in settings) or {"plugin", "auth_plugin"} & settings.keys():
            return None
        without_user = settings.get("allow_anonymous", "false" if "listener" in settings else "true")
        anonymous = without_user == "true"
        if access is None:
            return cls({EVERYBODY if anonymous else EVERY_USER: _Rules(["#"], [])})
        rules = _parsed(access)
        if not anonymous:
            rules.pop(NO_USER, None)
        return cls(rules)

    def of(self, topic: str) -> list[str]:
        """Return who may publish on a topic, in the order of the configuration."""
        return [user for user, rules in self.rules.items() if rules.permit(topic)]

    def anyone(self, topic: str) -> bool:
        """Return whether a client needs no user to publish there."""
        return not {EVERYBODY, NO_USER}.isdisjoint(self.of(topic))


def _parsed(lines: Iterable[str]) -> dict[str, _Rules]:
    """Return the rules in the lines of an access list."""
    rules: dict[str, _Rules] = defaultdict(lambda: _Rules([], []))
    user = NO_USER
    for line in lines:
        word, _, rest = line.strip().partition(" ")
        rest = rest.strip()
        if word == "user":
            user = rest
        elif word in ("topic", "pattern"):
            verb, _, topic_filter = rest.partition(" ")
            if not topic_filter:
                verb, topic_filter = "readwrite", rest
            of_whom = user if word == "topic" else EVERY_USER
            topic_filter = topic_filter.strip().replace("%u", "+").replace("%c", "+")
            if verb in _WRITES:
                rules[of_whom].permitted.append(topic_filter)
            elif verb == "deny":
                rules[of_whom].denied.append(topic_filter)
    return rules
