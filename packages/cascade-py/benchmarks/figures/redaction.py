"""What it costs to mask secrets in a line of text, on usual and on hostile texts."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator

from cascade.interfaces import Redactor
from figures.measure import Settings, alternate, run
from figures.table import Row, at_most

TITLE = "CPU time of masking secrets in a line of text"

MASKING = at_most(1.5)
LINEAR = at_most(3.0)


def rows(settings: Settings) -> Iterator[Row]:
    """Measure usual texts against masking of URLs only, and hostile texts against half of them."""
    yield from run(_masking(settings))
    yield run(_hostile(settings))


async def _masking(settings: Settings) -> list[Row]:
    """Measure all rules on texts without secrets against one rule, the credentials in URLs."""
    n = settings.size(10_000)
    ours, theirs, again = await alternate(
        settings.rounds_or(15),
        lambda: _clean_all(Redactor.DEFAULT.one_line, n),
        lambda: _clean_all(_urls_only, n),
        lambda: _clean_all(Redactor.DEFAULT.one_line, n, different=3),
    )
    return [
        Row("one line of an error, secrets masked", "us", ours, "only URLs masked", theirs, MASKING),
        Row("- the same lines again and again", "us", again, "only URLs masked", theirs),
    ]


async def _hostile(settings: Settings) -> Row:
    """Measure how the time of the worst text grows when its length doubles: 2 is linear, 4 quadratic."""
    length = settings.size(20_000)
    growth = []
    for _ in range(settings.rounds_or(5)):
        times = [(_mask_time(part, length), _mask_time(part, 2 * length)) for part in _HOSTILE]
        growth.append(max(twice / max(once, 1e-4) for once, twice in times))
    ones = (1.0,) * len(growth)
    return Row("masking a hostile text, twice as long", "times", growth, "the text", ones, LINEAR)


_CLEAN = (
    "ValueError: no row 17 in table orders of the warehouse",
    "FileNotFoundError: [Errno 2] No such file or directory: 'inbox/2026-11-21.csv'",
    "ZeroDivisionError: division by zero",
)
_HOSTILE = (
    "password ",
    'password="',
    "password=[",
    "--password-",
    "://a:",
    "Bearer ",
    "eyJ.",
    "?key=",
    "api_key-",
    "\\",
)
_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_CREDENTIALS = re.compile(r"://[^\s/]*@")


def _urls_only(text: str) -> str:
    line = _CREDENTIALS.sub("://***@", _BREAKS.sub(" ", text[:2000]).strip())
    return line if len(line) <= 500 else line[:499] + "…"


async def _clean_all(one_line: Callable[[str], str], n: int, *, different: int = 1_000) -> float:
    """Return microseconds of a line; a redactor remembers fewer than a thousand lines."""
    texts = [f"{_CLEAN[number % 3]} {number}" for number in range(different)]
    rounds = max(1, 3 * n // different)
    began = time.thread_time()
    for _ in range(rounds):
        for text in texts:
            one_line(text)
    return (time.thread_time() - began) / rounds / different * 1e6


def _mask_time(part: str, length: int) -> float:
    text = "password " + part * (length // len(part))
    began = time.thread_time()
    Redactor.DEFAULT.mask(text)
    return time.thread_time() - began
