"""The addresses on which a process listens, as the system reports them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

Address = IPv4Address | IPv6Address
Listening = set[tuple[Address, int]]

_LISTEN = "0A"  # the state in /proc/net/tcp


def listening(pid: int) -> Listening:
    """Return the addresses and ports on which a process accepts TCP connections.

    :raises OSError: if the system does not report them.
    """
    system: str = sys.platform  # a type checker must read every branch
    if system == "linux":
        tables = "".join(Path(f"/proc/{pid}/net/{name}").read_text() for name in _tables(pid))
        return of_proc(tables, set(_inodes(pid)))
    if system == "win32":
        return of_netstat(_printed("netstat", "-ano"), pid)
    return of_lsof(_printed("lsof", "-nP", "-a", "-p", str(pid), "-iTCP", "-sTCP:LISTEN", "-Fn"))


def of_proc(tables: str, inodes: set[str]) -> Listening:
    """Read the text of ``/proc/net/tcp`` and ``tcp6``: the sockets with these inodes that listen."""
    rows = (line.split() for line in tables.splitlines())
    found = (row[1] for row in rows if len(row) > 9 and row[3] == _LISTEN and row[9] in inodes)
    return {_from_proc(local) for local in found}


def of_lsof(text: str) -> Listening:
    """Read what ``lsof -Fn`` prints: a line such as ``n127.0.0.1:1883`` or ``n*:1883`` for each socket."""
    return {_from_text(line[1:]) for line in text.splitlines() if line.startswith("n")}


def of_netstat(text: str, pid: int) -> Listening:
    """Read what ``netstat -ano`` prints on Windows; the peer of a socket that listens has the port 0."""
    rows = (line.split() for line in text.splitlines())
    return {
        _from_text(row[1])
        for row in rows
        if len(row) == 5 and row[0] == "TCP" and row[2].endswith(":0") and row[4] == str(pid)
    }


def _tables(pid: int) -> Iterator[str]:
    return (name for name in ("tcp", "tcp6") if Path(f"/proc/{pid}/net/{name}").exists())


def _inodes(pid: int) -> Iterator[str]:
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found = re.fullmatch(r"socket:\[(\d+)\]", str(descriptor.readlink()))
        except FileNotFoundError:
            continue  # closed meanwhile
        if found:
            yield found.group(1)


def _from_proc(local: str) -> tuple[Address, int]:
    """Read ``0100007F:075B``: words of four bytes in the order of the machine, then the port."""
    host, port = local.split(":")
    words = [int(host[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(host), 8)]
    return _plain(ip_address(b"".join(words))), int(port, 16)


def _from_text(local: str) -> tuple[Address, int]:
    host, _, port = local.rpartition(":")
    host = host.strip("[]").partition("%")[0]
    return _plain(ip_address("0.0.0.0" if host == "*" else host)), int(port)


def _plain(address: Address) -> Address:
    return getattr(address, "ipv4_mapped", None) or address


def _printed(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout
