"""The command in a real terminal: a pseudo-terminal with a size, and what a person sees on it."""

import os
import re
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from cascade.testkit.waiting import busyness
from testing_tools.engines import CASCADE, SECONDS, eventually

if sys.platform == "win32":
    pytest.skip("Windows has no pseudo-terminals", allow_module_level=True)

import fcntl
import pty
import termios

# Makes the terminal the one that Ctrl-C goes to, and becomes the command.
_TAKE_TERMINAL = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]")


class Terminal:
    """A program in a terminal of its own."""

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        width: int = 80,
        height: int = 40,
        command: Sequence[str] = CASCADE,
        folder: Path | None = None,
    ) -> None:
        self._mine, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        self._bytes = bytearray()
        # TERM is set, as every terminal does; without a locale's encoding the screen would be ASCII.
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", _TAKE_TERMINAL, *command, *arguments],
            cwd=folder,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**environment, "TERM": "xterm-256color", "LANG": "C.UTF-8"},
            start_new_session=True,
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(10)
        os.close(self._mine)

    @property
    def raw(self) -> str:
        """Everything that was written, with its escape sequences."""
        return bytes(self._bytes).decode(errors="replace")

    @property
    def text(self) -> str:
        """Everything that was written, without escape sequences; a screen that is drawn again stands there again."""
        return _ESCAPES.sub("", self.raw).replace("\r\n", "\n")

    def wait_for(self, *texts: str) -> str:
        """Wait until the screen has shown all of these texts; return everything."""

        def shown() -> bool:
            return all(text in self.text for text in texts)

        try:
            eventually(shown, f"{texts} on the screen")
        except AssertionError as error:
            raise AssertionError(f"{error}; the screen: {self.text[-3000:]}") from None
        return self.text

    def type(self, text: str) -> None:
        """Type something, as a person does."""
        os.write(self._mine, text.encode())

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.type("\x03")

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def end(self) -> int:
        """Wait for the end of the program; return its exit code."""
        code = self.process.wait(SECONDS * busyness())
        self._reader.join(10)
        return code

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._mine, 65_536)
            except OSError:
                return
            if not data:
                return
            self._bytes += data
