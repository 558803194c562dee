"""The identity of a run: its id, and the name and tags that the user gave it. No I/O."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import NamedTuple

from cascade.interfaces import ConfigurationError
from cascade.interfaces.events import Tag

LONGEST_TEXT = 200
"""Characters of a run's id, its name, and each of its tags, at most."""

MOST_TAGS = 32

_LARGE = 2**63  # readers of the messages may have integers of 64 bits


class RunIdentity(NamedTuple):
    """One run's id, and the name and tags that observers see."""

    run_id: str
    name: str
    tags: Mapping[str, Tag]


def checked_identity(run_id: object, name: object, tags: object) -> RunIdentity:
    """Return what identifies a run; without an id it gets a random one.

    :raises ConfigurationError: naming the argument that cannot be used.
    """
    given_name = "" if name is None else _text("run(name=)", name)
    given_tags = checked_tags("run(tags=)", {} if tags is None else tags)
    checked_id = os.urandom(16).hex() if run_id is None else _text("run(run_id=)", run_id)
    return RunIdentity(checked_id, given_name, given_tags)


def _text(setting: str, value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value.strip()) <= len(value) <= LONGEST_TEXT:
        raise ConfigurationError(setting, f"needs a text of 1 to {LONGEST_TEXT} characters", value=value)
    if not value.isprintable():
        raise ConfigurationError(setting, "must not contain control characters", value=value)
    return value


def checked_tags(setting: str, tags: object) -> dict[str, Tag]:
    """Return tags that observers can be shown; ``setting`` is how the user wrote them, as in ``run(tags=)``.

    :raises ConfigurationError: naming the setting.
    """
    if not isinstance(tags, Mapping):
        raise ConfigurationError(setting, "needs a dict from texts to texts, numbers or booleans", value=tags)
    if len(tags) > MOST_TAGS:
        raise ConfigurationError(setting, f"takes at most {MOST_TAGS} tags, not {len(tags)}")
    return {_text(setting, tag): _tag_value(setting, tag, value) for tag, value in tags.items()}


def _tag_value(argument: str, tag: str, value: object) -> Tag:
    setting = f"{argument[:-1]}{{{tag!r}: ...}})"
    if isinstance(value, str):
        return value if not value else _text(setting, value)
    if isinstance(value, int) and abs(value) < _LARGE:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise ConfigurationError(setting, "needs a text, a finite number or a boolean", value=value)
