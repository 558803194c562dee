"""Output of a command: a table on a terminal, lines with tabs in a pipe, or one JSON document."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

from cascade.cli.columns import Column
from cascade.cli.errors import CommandError
from cascade.interfaces.text import printable


def open_missing_streams() -> None:
    """Open the null device in place of standard streams that the process was started without.

    Otherwise the next file or socket would get the descriptor, and what a child process prints would go there.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # the lowest free descriptor is that of the stream
            number = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(number, True)
            stream = os.fdopen(number, mode, encoding="utf-8")
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


class Output:
    """Standard output of a command. Text from outside is shown literally, with control characters escaped.

    A reader that closes its end of a pipe ends nothing: ``closed`` is then true, and further output is dropped.
    """

    def __init__(self, stream: TextIO | None = None, *, json: bool = False) -> None:
        self.json = json
        self.closed = False
        self._stream = stream

    @property
    def stream(self) -> TextIO:
        """Where the output goes."""
        return self._stream or sys.stdout

    @property
    def terminal(self) -> bool:
        """Whether a person reads it: not JSON, and not a pipe or a file."""
        return not self.json and self.stream.isatty()

    def check_reader(self) -> None:
        """Note whether the reader of a pipe has closed its end, while there is nothing to write."""
        if self.closed or not hasattr(select, "poll"):
            return
        with contextlib.suppress(OSError, ValueError):  # not a file of the system
            poll = select.poll()
            # errors and the end are reported without being asked for
            poll.register(self.stream.fileno(), 0)
            if any(found & (select.POLLERR | select.POLLHUP) for _, found in poll.poll(0)):
                self._close()

    def line(self, text: str = "") -> None:
        """Print one line of text; nothing where JSON is asked for."""
        if not self.json:
            self._write(printable(text))

    def text(self, text: str) -> None:
        """Print lines of text whatever the form of the output: they are the document that was asked for."""
        for line in text.splitlines():
            self._write(printable(line))

    def fields(self, *texts: str) -> None:
        """Print one line of texts with tabs between them, for a program; nothing where JSON is asked for."""
        if not self.json:
            self._write("\t".join(map(printable, texts)))

    def document(self, value: Any) -> None:
        """Print one JSON document on one line."""
        self._write(json.dumps(value, ensure_ascii=True, default=str))

    def rows(self, rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], *, empty: str = "") -> None:
        """Print rows: a JSON array of all their keys, or the given columns.

        :param empty: what a person reads instead of an empty table.
        """
        if self.json:
            self.document(list(rows))
        elif self.terminal:
            self._table(rows, columns) if rows else self.line(empty)
        else:
            for row in rows:
                self.fields(*(column.cell(row, plain=True) for column in columns))

    def note(self, text: str) -> None:
        """Print one line for a person on standard error, whatever the form of the output."""
        with contextlib.suppress(OSError):  # nothing reads it now
            sys.stderr.write(f"{printable(text)}\n")
            sys.stderr.flush()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep standard output for this object meanwhile; what anything else prints, also a child process, goes to stderr."""
        if self._stream is not None or not _is_of_the_process(sys.stdout):
            yield
            return
        sys.stdout.flush()
        kept = os.dup(1)
        os.dup2(2, 1)
        self._stream = os.fdopen(kept, "w", encoding="utf-8")
        try:
            yield
        finally:
            try:
                self.finish()
            finally:
                try:
                    sys.stdout.flush()
                except OSError:
                    _discard(sys.stdout)
                    sys.stdout.flush()
                os.dup2(kept, 1)
                with contextlib.suppress(OSError):
                    self._stream.close()
                self._stream = None

    def finish(self) -> None:
        """Write what is buffered, as long as it is read.

        :raises CommandError: if it cannot be written.
        """
        if not self.closed:
            with self._writing():
                self.stream.flush()

    def _table(self, rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> None:
        # imports rich, which only a terminal needs
        from cascade.cli._terminal import table

        for line in table(self.stream, rows, columns):
            self._write(line)

    def _write(self, text: str) -> None:
        if self.closed:
            return
        with self._writing():
            self.stream.write(f"{text}\n")
            self.stream.flush()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Drop what follows when a write fails. A reader that has gone is not an error."""
        try:
            yield
        except OSError as exc:
            self._close()
            # EIO: of a terminal that is gone
            if not isinstance(exc, BrokenPipeError) and exc.errno != errno.EIO:
                cause = f"the output cannot be written: {exc.strerror or exc}"
                raise CommandError(cause, "send it elsewhere") from exc

    def _close(self) -> None:
        """Drop what follows, and what the interpreter would still write at its end."""
        self.closed = True
        if self.stream is sys.stdout:
            _discard(sys.stdout)


def _discard(stream: TextIO) -> None:
    """Send what a stream has buffered, and what is still written to it, nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _is_of_the_process(stream: TextIO | None) -> bool:
    """Return whether a stream is the standard output with which the process has started; a test may replace it."""
    return stream is not None and stream is sys.__stdout__
