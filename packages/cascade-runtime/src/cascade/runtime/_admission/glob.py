"""Shell-style patterns of task names, with the semantics of ``fnmatch.fnmatchcase``, in bounded time.

Patterns come from the broker, and ten thousand may be in force, so none of them may stall the
engine. A compiled ``fnmatch.translate`` matches faster and never backtracks over more than one
"*", but compiling is not safe: ``re`` expands each range of a set, so a pattern of 256 characters
full of "[a\\u0100-\\uffff]" takes 170 ms, and a usual pattern 30 us. Here a pattern of 256
characters is read in about 0.1 ms whatever it contains, and a usual one in 3 us.
Matching goes back to the last "*" only: 0.2 ms at most for a name of 48 characters, and the cost
grows with the square of the name's length, not with the pattern's.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

MAX_PATTERN: Final = 256
"""Characters of the longest pattern that is accepted."""

_STAR, _ANY = "*", "?"


class Glob:
    """One pattern, read once."""

    __slots__ = ("_min_length", "_tokens", "pattern", "plain")

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.plain = not set(pattern) & set("*?[")
        """Whether the pattern matches only its own text."""
        self._tokens = () if self.plain else _tokens(pattern)
        self._min_length = sum(token != _STAR for token in self._tokens)

    def matches(self, name: str) -> bool:
        """Return what ``fnmatchcase(name, pattern)`` returns."""
        if self.plain:
            return name == self.pattern
        return self._min_length <= len(name) and _match(self._tokens, name)


class _CharacterSet:
    """The characters that a bracketed set such as ``[!a-z_]`` matches: sorted ranges that do not overlap."""

    __slots__ = ("_ends", "_negated", "_starts")

    def __init__(self, content: str) -> None:
        ranges, self._negated = _ranges(content)
        self._starts: list[str] = []
        self._ends: list[str] = []
        for start, end in sorted(ranges):
            if not self._ends or start > self._ends[-1]:
                self._starts.append(start)
                self._ends.append(end)
            elif end > self._ends[-1]:
                self._ends[-1] = end

    def matches(self, character: str) -> bool:
        at = bisect_right(self._starts, character) - 1
        return (at >= 0 and character <= self._ends[at]) != self._negated


_Token = str | _CharacterSet


def _tokens(pattern: str) -> tuple[_Token, ...]:
    """Split into stars, question marks, single characters and bracketed sets."""
    tokens: list[_Token] = []
    at = 0
    while at < len(pattern):
        end = _set_end(pattern, at) if pattern[at] == "[" else 0
        if end:
            tokens.append(_CharacterSet(pattern[at + 1 : end - 1]))
        elif pattern[at] != _STAR or tokens[-1:] != [_STAR]:
            tokens.append(pattern[at])
        at = end or at + 1
    return tuple(tokens)


def _set_end(pattern: str, start: int) -> int:
    """Return where the set that opens at ``start`` ends; 0 if it never does and is a plain bracket."""
    first = start + 1
    if pattern[first : first + 1] == "!":
        first += 1
    return pattern.find("]", first + (pattern[first : first + 1] == "]")) + 1


def _ranges(content: str) -> tuple[list[tuple[str, str]], bool]:
    """Return the ranges of a set's content, and whether the set is negated."""
    negated = content.startswith("!")
    ranges: list[tuple[str, str]] = []
    at = int(negated)
    while at < len(content):
        is_range = content[at + 1 : at + 2] == "-" and at + 2 < len(content)
        start, end = content[at], content[at + 2] if is_range else content[at]
        if start == "!" and not ranges and not negated and at > 0:
            # fnmatch removes empty ranges first, and so takes the "!" of "[b-a!c]" as a negation
            negated = True
            ranges += [(character, character) for character in ("-", end) if is_range]
        elif start <= end:
            ranges.append((start, end))
        at += 3 if is_range else 1
    return ranges, negated


def _match(tokens: tuple[_Token, ...], name: str) -> bool:
    """Match greedily; after a mismatch, extending the last star is enough."""
    at = token = 0
    last_star, resume = -1, 0
    while at < len(name):
        if token < len(tokens) and tokens[token] == _STAR:
            last_star, resume = token, at
            token += 1
        elif token < len(tokens) and _matches_one(tokens[token], name[at]):
            token, at = token + 1, at + 1
        elif last_star >= 0:
            resume += 1
            token, at = last_star + 1, resume
        else:
            return False
    return all(rest == _STAR for rest in tokens[token:])


def _matches_one(token: _Token, character: str) -> bool:
    if isinstance(token, str):
        return token in (character, _ANY)
    return token.matches(character)
