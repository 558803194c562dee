"""What may leave the process of a text that a task's failure made. Pure."""

from __future__ import annotations

import re

from cascade.interfaces import CascadeError

MAX_CHARACTERS = 500

_READ = 4 * MAX_CHARACTERS  # what is looked at of a text of any length
_CREDENTIALS = re.compile(r"://[^\s/]*@")
_CUT_CREDENTIALS = re.compile(r"://[^\s/@]*:[^\s/@]*$")
_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


def one_line(text: str) -> str:
    """Return ``text`` on one line of up to 500 characters, with ``://user:pass@`` masked.

    Control characters, line separators and lone surrogates become spaces.

    >>> one_line("ConnectionError: amqp://guest:s3cret@host:5672\\nrefused")
    'ConnectionError: amqp://***@host:5672 refused'
    """
    line = _BREAKS.sub(" ", text[:_READ]).strip()
    line = _CREDENTIALS.sub("://***@", line)
    if len(text) > _READ:
        line = _CUT_CREDENTIALS.sub("://***", line)
    return line if len(line) <= MAX_CHARACTERS else line[: MAX_CHARACTERS - 1] + "…"


def describe(error: BaseException) -> str:
    """Return ``"TypeName: message"``, of our own errors without values; never raises, whatever ``__str__`` does."""
    try:
        message = error.public if isinstance(error, CascadeError) else str(error)
    except Exception:  # a foreign __str__ must not replace the failure that it tells of
        message = "<its message could not be made>"
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
