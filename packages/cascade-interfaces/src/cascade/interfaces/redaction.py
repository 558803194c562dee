"""Mask secrets in text that leaves the process or is logged. No I/O."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import ClassVar, NamedTuple

from cascade.interfaces import token_forms
from cascade.interfaces.errors import CascadeError, ConfigurationError

MAX_CHARACTERS = 500
"""The longest line that :meth:`Redactor.one_line` returns."""
MASK = "***"
"""What stands in the place of a secret."""

# lines that a redactor remembers: errors and reasons repeat in the items of a map
_CACHED = 256
_COMPILED = 512  # patterns that are kept compiled
# a longer text is cut first, so that the cost is bounded
_READ = 4 * MAX_CHARACTERS
_MOST = 100  # names or patterns of one redactor
_LONGEST = 200  # characters of one name or pattern
_BREAKS = r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+"


class _Rule(NamedTuple):
    hints: tuple[str, ...]
    """In lower case. The pattern can match only where the text contains one of them."""
    pattern: str
    """Its group 1, where there is one, is kept; the rest of a match is masked.

    Every repetition is bounded, possessive, or ends the match, so that the time grows with the length
    of the text and not faster. A text that was cut may end with half a secret: that matches, too.
    """


def _rule(hints: Iterable[str], pattern: str) -> _Rule:
    return _Rule(tuple(hints), pattern)


_FORMS = (
    _rule(
        ["-----begin"], r"-----BEGIN\ [A-Z0-9 ]{1,40}-----[\s\S]*?(?:-----END\ [A-Z0-9 ]{1,40}-----|\Z)"
    ),  # PEM
    _rule(
        # of HTTP; not of a sentence such as "Basic authentication is off"
        ["bearer", "basic"],
        r"""(?i:\b((?:bearer|basic)\s{1,8})
        (?!(?:auth|authentication|authorization|credentials?|realm|scheme|tokens?)\b)[\w.~+/=:-]{4,})""",
    ),
    _rule(["eyj"], r"\beyJ[\w-]{4,}(?:\.[\w-]*){0,4}"),  # JSON Web Token
    # AWS
    _rule(["akia", "asia"], r"\b(?:AKIA|ASIA)(?:[0-9A-Z]{8,}|[0-9A-Z]+\Z)"),
    _rule(["gh", "github"], r"\b(?:gh[a-z]_(?:[A-Za-z0-9]{8,}|[A-Za-z0-9]+\Z)|github_pat_(?:\w{8,}|\w+\Z))"),
    _rule(["xox"], r"\bxox[a-z]-[\w-]+"),  # Slack
    _rule(
        # user and password; a password may hold a slash, but a port ends before one
        ["://"],
        r"(://)(?:[^\s/]*|[^\s/:@]{0,128}:(?!\d{1,5}[/?\#])\S{0,256})(?=@)",
    ),
    _rule(
        # all cookies of a header, not the first only
        ["cookie"],
        r"""(?i:(cookie2?:\s{0,8})[\w!\#$%&'*+.^`|~-]{1,200}=[^\s;]*(?:;\s{0,8}[^\s;]+)*)""",
    ),
    _rule(
        # schemes of HTTP beside those above; not of a sentence such as "token expired"
        ["token", "apikey", "ssws"],
        r"""(?i:\b((?:token|apikey|ssws)\s{1,8})(?=[A-Za-z_-]{0,200}\d)[\w.~+/=-]{16,})""",
    ),
    _rule(["-u", "--user"], r"((?<![\w-])(?:-u|--user)[\s=]{1,8}[^\s:]{1,128}:)[^\s]+"),  # curl
    _rule(
        ["?", "&"],
        r"""(?i:([?&;](?:auth|code|key|pw|pass|sid|session(?:_?id)?|sig|signature|x-amz-[a-z-]{1,40})=)
        [^\s&\#"'<>]+)""",
    ),
)

_KEYS = [
    "access",
    "account",
    "api",
    "auth",
    "encryption",
    "license",
    "master",
    "private",
    "session",
    "shared",
    "signing",
    "ssh",
    "storage",
]
_NAMES = (
    *("passw", "passphrase", "passcode", "pwd", "secret(?!ar)", "token(?!i)", "credential", "authorization"),
    *("cookie", rf"(?:{'|'.join(_KEYS)})[_-]?key", "(?<![a-z])pass(?![a-z])"),
)
_HINTS = ("pass", "pwd", "secret", "token", "credential", "authorization", "cookie", "key")

_VALUE = r"""
(?: \*{3}(?=[\s,;&)\]}"'<]|\Z)                      # masked before
|   [bru]?"(?:[^"\\]|\\.)*+\\?(?:"|\Z)              # quoted, with spaces and escaped quotes
|   [bru]?'(?:[^'\\]|\\.)*+\\?(?:'|\Z)
|   \\{1,4}["'][^"']*["']?                          # quoted in a quoted text
|   [\[({][^\])}]*[\])}]?                           # a list, a tuple or a dict
|   [|>][+-]?\d?\s(?:(?!\s[\w.-]{1,64}:(?:\s|\Z))[\s\S])*  # a block of YAML, up to the next key
|   (?:(?:bearer|basic|digest|negotiate|token)\s{1,8})?[^\s]+
)"""

_SEPARATOR = r"""
(?: \\{0,4}["']?[\])]?\s{0,8}(?:[=:]{1,2}>?|%3[ad])\s{0,8}  # name=  name:  'name':  ["name"] =  name%3D
|   \\{0,4}["']\s{0,8},\s{0,8}                              # ('name', 'value')
|   >(?=[^\s<])                                             # <name>value
)"""


def _names_rules(names: Iterable[str]) -> tuple[_Rule, _Rule]:
    """Return the rules for ``name=value`` in all its forms, and for ``--name value``."""
    stems = "|".join((*_NAMES, *(re.escape(name) for name in names)))
    hints = (*_HINTS, *(name.lower() for name in names))
    named = rf"(?i:((?:{stems})[\w.-]{{0,32}}{_SEPARATOR}){_VALUE})"
    flag = rf"(?i:((?<![\w-])--?[\w-]{{0,32}}?(?:{stems})[\w-]{{0,32}}\s{{1,8}}){_VALUE})"
    return _rule(hints, named), _rule(("-",), flag)


_DEFAULT_NAMES = _names_rules(())
_WORD = r"""[^\s'"`,;()\[\]{}<>=]+"""
_MAY_HAVE_TOKEN = re.compile(rf"[A-Za-z0-9_-]{{{token_forms.SHORTEST}}}").search
_PUNCTUATION = ".:!?"


class Redactor:
    """Masks secrets: values of names like ``password``, credentials in URLs, keys, tokens, PEM blocks.

    A value is masked where its name is followed by ``=`` or ``:``, also in quotes, or is an option such
    as ``--password``. A secret that stands alone in a sentence is masked only if its form is known:
    ``Bearer ...``, a JSON Web Token, a PEM block, the keys and webhooks of about 50 services such as
    AWS, GitHub, GitLab, Google, OpenAI, Slack and Stripe, or one of ``patterns``. Names of
    tasks and of their results are never masked.

    :param names: further names of secrets, without distinction of case; a part of a name is enough:
        ``"iban"`` masks ``customer_iban=...`` too.
    :param patterns: further secrets, as words with ``*``, ``?`` and ``[...]``: ``"cust-*"`` masks
        ``cust-4711``. A word ends at a space, a quote, a comma, a bracket or ``=``.
    :raises ConfigurationError: for more than 100 names or patterns, and for an empty one or one of more
        than 200 characters.
    """

    DEFAULT: ClassVar[Redactor]
    """Masks what is masked without a setting."""

    __slots__ = ("__weakref__", "_hints", "_recent", "_rules", "_words", "names", "patterns")

    def __init__(self, *, names: Iterable[str] = (), patterns: Iterable[str] = ()) -> None:
        self._mask_these(_checked("names", names), _checked("patterns", patterns))

    def _mask_these(self, names: tuple[str, ...], patterns: tuple[str, ...]) -> None:
        self.names, self.patterns = names, patterns
        named = _names_rules(self.names) if self.names else _DEFAULT_NAMES
        self._rules = (*_FORMS, *named)
        # One flat tuple: the search for hints is all that a text without secrets costs.
        self._hints = tuple(dict.fromkeys(hint for rule in self._rules for hint in rule.hints if hint != "-"))
        self._words = [re.compile(fnmatch.translate(pattern)).match for pattern in self.patterns]
        self._recent = lru_cache(_CACHED)(self._make_line)

    def mask(self, text: str) -> str:
        """Return ``text`` with each secret replaced by ``***``.

        >>> Redactor().mask("cannot log in: user='ada', password='S3cr3t'")
        "cannot log in: user='ada', password=***"
        """
        lowered = text.lower()
        for hint in self._hints:
            if hint in lowered:
                text = self._apply_rules(text, lowered)
                break
        if len(text) >= token_forms.SHORTEST and _MAY_HAVE_TOKEN(text):
            text = _compiled(token_forms.PATTERN).sub(_kept, text)
        return _compiled(_WORD).sub(self._masked_word, text) if self._words else text

    def one_line(self, text: str, *, most: int = MAX_CHARACTERS) -> str:
        """Return ``text`` masked, on one line of up to 500 characters, or ``most``.

        Control characters, line separators and lone surrogates become spaces.

        >>> Redactor().one_line("ConnectionError: amqp://guest:s3cret@host:5672\\nrefused")
        'ConnectionError: amqp://***@host:5672 refused'
        """
        if text.__class__ is str and len(text) <= MAX_CHARACTERS <= most:
            return self._recent(text)
        return self._make_line(text, most)

    def _make_line(self, text: str, most: int = MAX_CHARACTERS) -> str:
        line = text[:_READ]
        if not line.isprintable():
            line = _compiled(_BREAKS).sub(" ", line)
        line = self.mask(line.strip())
        if len(text) > _READ:
            line = self._without_cut_secret(line)
        return line if len(line) <= most else line[: most - 1] + "…"

    def merged(self, other: Redactor) -> Redactor:
        """Return a redactor that masks what either of the two masks, however much that is."""
        names, patterns = {*self.names, *other.names}, {*self.patterns, *other.patterns}
        if names == set(self.names) and patterns == set(self.patterns):
            return self
        # unchecked: more than 100 must not fail a second engine's run
        both = object.__new__(Redactor)
        both._mask_these(tuple(sorted(names)), tuple(sorted(patterns)))
        return both

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Redactor):
            return NotImplemented
        return set(self.names) == set(other.names) and set(self.patterns) == set(other.patterns)

    def __hash__(self) -> int:
        return hash((frozenset(self.names), frozenset(self.patterns)))

    def __repr__(self) -> str:
        return f"Redactor(names={self.names!r}, patterns={self.patterns!r})"

    def _apply_rules(self, text: str, lowered: str) -> str:
        for hints, pattern in self._rules:
            if any(hint in lowered for hint in hints):
                text = _compiled(pattern).sub(_kept, text)
        return text

    def _masked_word(self, word: re.Match[str]) -> str:
        whole = word[0]
        bare = whole.rstrip(_PUNCTUATION)
        hit = any(matches(bare) or matches(whole) for matches in self._words)
        return MASK + whole[len(bare) :] if hit else whole

    def _without_cut_secret(self, line: str) -> str:
        """Mask what may be the first half of a secret at the end of a text that was cut."""
        head, separator, rest = line.rpartition("://")
        open_end = not any(char == "@" or char.isspace() for char in rest)
        if separator and open_end and (":" in rest or "/" not in rest):
            return f"{head}://{MASK}"
        if self._words and (last := line.split()[-1:]):
            return f"{line[: -len(last[0])]}{MASK}"
        return line


def describe(error: BaseException) -> str:
    """Return ``"TypeName: message"``; never raises, whatever ``__str__`` does.

    The message of a Cascade error is its public one, which contains no values of arguments or results.
    A message of more than 2,000 characters is cut, so that no event and no log keeps a huge one.
    """
    try:
        message = error.public if isinstance(error, CascadeError) else str(error)
        if len(message) > _READ:
            # one more, so that one_line() sees that it was cut
            message = message[: _READ + 1]
    except BaseException:
        # whatever a user's __str__ raises must not hide the failure
        message = "<its message could not be made>"
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


@lru_cache(_COMPILED)
def _compiled(pattern: str) -> re.Pattern[str]:
    """Compile at the first use: most programs meet no secret, and the patterns take milliseconds."""
    return re.compile(pattern, re.VERBOSE)


def _kept(match: re.Match[str]) -> str:
    return f"{match[match.lastindex]}{MASK}" if match.lastindex else MASK


def _checked(setting: str, given: Iterable[str]) -> tuple[str, ...]:
    where = f"Redactor({setting}=)"
    if isinstance(given, str | bytes):
        raise ConfigurationError(where, f"takes a list; write {setting}=[...]")
    texts = tuple(given)
    if len(texts) > _MOST:
        raise ConfigurationError(where, f"takes at most {_MOST}, not {len(texts)}")
    for text in texts:
        if not isinstance(text, str) or not text.strip() or len(text) > _LONGEST:
            raise ConfigurationError(where, f"each is a text of 1 to {_LONGEST} characters", value=text)
    return texts


Redactor.DEFAULT = Redactor()
