"""A folder of SQLite files for one user: who may use it, and where it may be."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

Unusable = Callable[[str, str], Exception]
"""Makes the error of a store: from the name of its folder or file, and the cause."""

_FORBIDDEN = stat.S_IRWXG | stat.S_IRWXO
_WRITABLE = stat.S_IWGRP | stat.S_IWOTH
_NETWORKS = frozenset(
    {
        "nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "ceph", "glusterfs", "lustre", "gpfs", "9p",
        "beegfs", "fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.rclone", "davfs", "fuse.davfs2",
    }
)  # fmt: skip
_MOUNTS = Path("/proc/self/mountinfo")


def prepare(folder: Path, unusable: Unusable) -> None:
    """Create the folder with mode 0700 if it is missing, and check it.

    :raises Exception: what ``unusable`` makes, if other users can use it, or it is on a network.
    :raises OSError: if it cannot be created.
    """
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
    check(folder, unusable)


def check(folder: Path, unusable: Unusable) -> None:
    """Check owner, mode and file system of an existing folder.

    :raises Exception: what ``unusable`` makes, with what is wrong and what to do.
    :raises OSError: if it is missing.
    """
    found = folder.stat()
    if not stat.S_ISDIR(found.st_mode):
        raise unusable(str(folder), "is not a folder; name another one")
    if os.name == "posix":
        if found.st_uid != os.geteuid():
            raise unusable(str(folder), "belongs to another user; name a folder of your own")
        if found.st_mode & _FORBIDDEN:
            verb = "written" if found.st_mode & _WRITABLE else "read"
            raise unusable(str(folder), f"can be {verb} by others; chmod 700 {folder}")
    kind = file_system(folder)
    if kind in _NETWORKS:
        raise unusable(str(folder), f"is on {kind}, where SQLite's WAL is not safe; name a local folder")


def file_system(folder: Path, mounts: Path = _MOUNTS) -> str:
    """Return the type of the file system of a folder, "" where the system does not list it (Linux does)."""
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    place, found = folder.resolve(), ("", "")
    for line in lines:
        before, _, after = line.partition(" - ")
        mounted = _unescaped(before.split(" ")[4])
        # A later mount of the same place covers the earlier one.
        if place.is_relative_to(mounted) and len(mounted) >= len(found[0]):
            found = mounted, after.split(" ")[0]
    return found[1]


def _unescaped(text: str) -> str:
    """Return a path of mountinfo, in which some characters are written as octal numbers (``man 5 proc``)."""
    for code in ("\\040", "\\011", "\\012", "\\134"):
        text = text.replace(code, chr(int(code[1:], 8)))
    return text


def sync(folder: Path) -> None:
    """Have the names in a folder survive a power cut, where the system can.

    :raises OSError: if the disk fails.
    """
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
