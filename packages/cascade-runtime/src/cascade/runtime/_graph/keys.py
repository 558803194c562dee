"""Step keys: name each call of a run by its place in the declaration, whatever the order of events. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator

LONGEST = 200
"""Characters of a key, at most."""

LONGEST_SCOPE = 130
"""Characters of the part of a key that stands for an outer call, at most."""

_KEPT, _KEPT_SCOPE = 160, 100  # characters of a longer one that stay readable
_RESERVED = str.maketrans({character: f"%{ord(character):02X}" for character in ":/~[]%"})


def declared_key(name: str, number: int) -> str:
    """Return the key of the call with this number among those of its name in one declaration.

    >>> declared_key("resize", 0)
    'resize:0'
    >>> declared_key("50%/s", 2)
    '50%25%2Fs:2'
    """
    return f"{name if name.isidentifier() else name.translate(_RESERVED)}:{number}"


def shortened(key: str) -> str:
    """Return ``key``, or its beginning and a digest if it is too long.

    The key of an outer call is shortened first, so each digest covers the one before it.
    """
    return key if len(key) <= LONGEST else _digested(key, _KEPT)


def scope_of(key: str) -> str:
    """Return what the keys of all items and continuations of a call begin with.

    It is short enough that no key below loses it, so they are found and deleted by their beginning.
    """
    return key if len(key) <= LONGEST_SCOPE else _digested(key, _KEPT_SCOPE)


def item_key(key: str, number: int) -> str:
    """Return the key of an item of a map; the scope is short enough that no digit is lost."""
    return f"{scope_of(key)}[{number}]"


def item_keys(key: str, size: int) -> Iterator[str]:
    """Yield the keys of the items of a map."""
    scope = scope_of(key)
    for number in range(size):
        yield f"{scope}[{number}]"


def _digested(key: str, kept: int) -> str:
    # OpenSSL takes time to load, and few programs have such keys
    from hashlib import blake2b

    digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{key[:kept]}…{digest}"


def without_run_parts(key: str) -> str:
    """Return a key without its items and continuations: what they have in common in the declaration.

    >>> without_run_parts("resize:1[17]~2/pad:0")
    'resize:1/pad:0'
    """
    return re.sub(r"\[\d+\]|~\d+", "", key) if "[" in key or "~" in key else key
