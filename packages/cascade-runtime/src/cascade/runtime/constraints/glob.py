"""Shell-style patterns as ``fnmatch.fnmatchcase`` has them, without compiling a regular expression.

A register may bring ten thousand patterns that nobody here has chosen: reading one costs
microseconds, and matching one against a name costs at most the product of their lengths.
"""

from __future__ import annotations

import fnmatch
import re
from functools import lru_cache

MAX_PATTERN = 256
"""Characters of the longest pattern that is taken."""

_STAR, _ANY = "*", "?"


class Glob:
    """One pattern, read once."""

    __slots__ = ("_least", "_tokens", "pattern", "plain")

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.plain = not set(pattern) & set("*?[")
        """Whether it matches its own text only."""
        self._tokens = () if self.plain else _tokens(pattern)
        self._least = sum(token != _STAR for token in self._tokens)

    def matches(self, name: str) -> bool:
        """Return what ``fnmatchcase(name, pattern)`` returns."""
        if self.plain:
            return name == self.pattern
        return self._least <= len(name) and _match(self._tokens, name)


def _tokens(pattern: str) -> tuple[str, ...]:
    """Split into stars, question marks, single characters and bracketed sets."""
    tokens: list[str] = []
    at = 0
    while at < len(pattern):
        end = _set_end(pattern, at) if pattern[at] == "[" else 0
        token = pattern[at:end] if end else pattern[at]
        if token != _STAR or tokens[-1:] != [_STAR]:
            tokens.append(token)
        at += len(token)
    return tuple(tokens)


def _set_end(pattern: str, start: int) -> int:
    """Return where the set that opens at ``start`` ends, or 0: then it is a plain bracket."""
    first = start + 1
    if pattern[first : first + 1] == "!":
        first += 1
    return pattern.find("]", first + (pattern[first : first + 1] == "]")) + 1


def _match(tokens: tuple[str, ...], name: str) -> bool:
    """Match greedily, going back to the last star only: that one is enough."""
    at = token = 0
    star, resume = -1, 0
    while at < len(name):
        if token < len(tokens) and tokens[token] == _STAR:
            star, resume = token, at
            token += 1
        elif token < len(tokens) and _one(tokens[token], name[at]):
            token, at = token + 1, at + 1
        elif star >= 0:
            resume += 1
            token, at = star + 1, resume
        else:
            return False
    return all(rest == _STAR for rest in tokens[token:])


def _one(token: str, character: str) -> bool:
    return token in (character, _ANY) or (len(token) > 1 and _set(token).match(character) is not None)


@lru_cache(maxsize=1024)
def _set(token: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(token))
