"""The folder of recorded runs, and its signing key."""

from __future__ import annotations

from pathlib import Path

from cascade.interfaces import StateUnavailable
from cascade.runtime._storage import private_folder
from cascade.runtime._storage.signing_key import load_signing_key

_KEY = "_secret"


def prepare(folder: Path) -> bytes:
    """Create the folder with mode 0700 if it is missing; return its signing key, created if it is missing.

    :raises StateUnavailable: if it cannot be created, other users can use it, or it is on a network.
    """
    try:
        private_folder.prepare(folder, StateUnavailable)
        return load_signing_key(folder / _KEY)
    except OSError as exc:
        if isinstance(exc, StateUnavailable):
            raise
        raise StateUnavailable(str(folder), str(exc)) from exc


def check(folder: Path) -> None:
    """Check owner, mode and file system of an existing folder.

    :raises StateUnavailable: with what is wrong and what to do.
    :raises OSError: if it is missing.
    """
    private_folder.check(folder, StateUnavailable)
