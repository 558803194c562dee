"""The constraints that a named engine obeys, in a file that its next process reads."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cascade.runtime._storage.private_files import file_name, sync


def path_of(folder: Path, source: str) -> Path:
    """Return the file of a source."""
    return folder / f"control-{file_name(source)}.json"


def load(path: Path) -> Mapping[str, Any] | None:
    """Return what a file holds; None if there is none, or no object of JSON is in it.

    :raises OSError: if it cannot be read.
    """
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a file at once: it survives a power cut as it was before or as it is now.

    :raises OSError: if it cannot be written.
    """
    part = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync(path.parent)
