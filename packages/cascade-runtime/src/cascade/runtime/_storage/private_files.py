"""Files and folders that only their owner can use, and file names from any text."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from collections.abc import Callable
from hashlib import blake2b
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
        # of a link, too: its owner decides where it leads
        if {found.st_uid, folder.lstat().st_uid} != {os.geteuid()}:
            raise unusable(
                str(folder), "belongs to another user; run this as that user, or name a folder of your own"
            )
        if found.st_mode & _FORBIDDEN:
            verb = "written" if found.st_mode & _WRITABLE else "read"
            raise unusable(str(folder), f"can be {verb} by others; chmod 700 {folder}")
    kind = file_system(folder)
    if kind in _NETWORKS:
        raise unusable(str(folder), f"is on {kind}, where SQLite's WAL is not safe; name a local folder")


def check_file(path: Path) -> None:
    """Check an SQLite file, its companions and its folder, as far as they exist: no other user may have planted them.

    The folder may be readable by others, unlike that of :func:`check`. In one that anyone can write, such as /tmp,
    others cannot replace a file that belongs to this user.

    :raises PermissionError: naming what another user has made or can write.
    """
    if os.name != "posix":
        return
    folder = path.parent.stat()
    if folder.st_uid not in (os.geteuid(), 0):
        raise PermissionError(
            f"the folder {path.parent} belongs to another user; name a file in a folder of your own"
        )
    if folder.st_mode & _WRITABLE and not folder.st_mode & stat.S_ISVTX:
        raise PermissionError(f"the folder {path.parent} can be written by others; chmod go-w {path.parent}")
    for each in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal"))):
        with contextlib.suppress(FileNotFoundError):
            found = each.lstat()
            if found.st_uid != os.geteuid():
                raise PermissionError(f"{each} belongs to another user; name a file of your own")
            if stat.S_ISREG(found.st_mode) and found.st_mode & _WRITABLE:
                raise PermissionError(f"{each} can be written by others; chmod 600 {each}")


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
        # another process created it first: its file counts
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink()


_PLAIN = re.compile(r"[A-Za-z0-9_-]")
_LONGEST = 120
_KEPT = 80


def file_name(text: str) -> str:
    """Return a text as a file name: at most 120 characters, and another one for each text.

    >>> file_name("night 2026-11-21")
    'night%202026-11-21'
    """
    raw = text.encode("utf-8", "surrogatepass")
    name = "".join(chr(byte) if _PLAIN.fullmatch(chr(byte)) else f"%{byte:02X}" for byte in raw)
    if len(name) <= _LONGEST:
        return name
    return f"{name[:_KEPT]}~{blake2b(raw, digest_size=16).hexdigest()}"
