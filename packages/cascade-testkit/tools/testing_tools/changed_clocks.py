"""A clock that a test sets, for programs that it starts: libfaketime on Linux."""

from __future__ import annotations

import os
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

# the variant for programs with threads
LIBRARIES = sorted(Path("/usr/lib").glob("**/faketime/libfaketimeMT.so.1")) if sys.platform == "linux" else []


class ChangedClock:
    """The wall clock of programs that get its environment; the clock that never goes back is not touched.

    Without libfaketime the test is skipped, and fails in CI.

    :param folder: has the file of the clock.
    """

    def __init__(self, folder: Path) -> None:
        if not LIBRARIES:
            message = "libfaketime is not installed: apt install faketime (Linux only)"
            if os.environ.get("CI") and sys.platform == "linux":
                pytest.fail(message, pytrace=False)
            pytest.skip(message)
        self._file = folder / "clock"
        self.environment = {
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, at: str, *, before: float = 0.0) -> None:
        """Set the clock, or to so many seconds before a time."""
        offset = datetime.fromisoformat(at).timestamp() - before - time.time()
        made = self._file.with_name("clock.new")
        made.write_text(f"{offset:+.3f}")
        made.replace(self._file)
