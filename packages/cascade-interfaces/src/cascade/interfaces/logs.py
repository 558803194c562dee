"""Loggers of Cascade, whose lines show no secrets."""

from __future__ import annotations

import logging
import weakref

from cascade.interfaces.redaction import Redactor

_formatter = logging.Formatter()

LOSS = "cascade_loss"
"""Attribute of a log record: true if it counts messages that were lost."""


class SilentHandler(logging.Handler):
    """Base of a handler that shows nothing to the user, such as one that sends lines elsewhere."""


def is_shown_by_root() -> bool:
    """Return whether the user's program has set up logging: the root logger has a handler that shows lines."""
    return any(not isinstance(each, SilentHandler) for each in logging.root.handlers)


def get_logger(name: str) -> logging.Logger:
    """Return the logger of this name; whatever is logged on it is masked first.

    The message and the traceback of a record change only if they contain a secret. Everything else
    about the logger is the user's: its level, its handlers, and whether it is heard at all.
    """
    logger = logging.getLogger(name)
    logger.addFilter(_mask)  # adds it once
    return logger


def mask_logs_with(redactor: Redactor) -> None:
    """Mask all lines of Cascade with this redactor too, for as long as the redactor exists.

    Log lines of connectors and executors belong to no run, so the setting holds for the process.
    """
    _Further.redactors = (
        *(ref for ref in _Further.redactors if ref() not in (None, redactor)),
        weakref.ref(redactor),
    )


class _Further:
    redactors: tuple[weakref.ref[Redactor], ...] = ()
    """Replaced as a whole: other threads may read it while they log."""


def _mask(record: logging.LogRecord) -> bool:
    try:
        _mask_message(record)
        _mask_traceback(record)
    except Exception:
        # the record cannot be formatted; the handler reports that as for every logger
        return True
    return True


def _mask_message(record: logging.LogRecord) -> None:
    message = record.getMessage()
    masked = _masked(message)
    if masked != message:
        record.msg, record.args = masked, ()


def _mask_traceback(record: logging.LogRecord) -> None:
    if not record.exc_info or record.exc_info[1] is None:
        return
    text = _formatter.formatException(record.exc_info)
    masked = _masked(text)
    # without exc_info, or a handler would format the error itself
    if masked != text:
        record.exc_info, record.exc_text = None, masked


def _masked(text: str) -> str:
    text = Redactor.DEFAULT.mask(text)
    for ref in _Further.redactors:
        redactor = ref()
        if redactor is not None:
            text = redactor.mask(text)
    return text
