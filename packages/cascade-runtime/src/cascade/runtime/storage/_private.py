"""Files that only their owner may use."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


def create_private(path: Path, content: bytes = b"") -> None:
    """Make a file with mode 0600, unless there is one; nobody ever sees half of its content.

    It is written under another name and linked: so it is whole at once, and the file that is
    there already is never opened (closing it would drop the locks that SQLite holds on it).

    :raises OSError: if the folder cannot be written.
    """
    part = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another process was quicker: its file counts
            os.link(part, path)
    finally:
        part.unlink()
