"""Files that only their owner can read and write."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


def create_private(path: Path, content: bytes = b"") -> None:
    """Create a file with mode 0600 in one atomic step; do nothing if it exists.

    The content is written to a temporary file, which is then linked to ``path``: so no other
    process sees half of it. An existing file is never opened, because closing it would drop the
    POSIX locks that SQLite holds on it in this process.

    :raises OSError: if the folder cannot be written.
    """
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another process created it first: its file counts
            os.link(temporary, path)
    finally:
        temporary.unlink()
