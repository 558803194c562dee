"""Find the program that listens on a port of this machine, and its settings. Linux only: elsewhere nothing is found."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from cascade.ops._doctor.facts import Configuration

_LISTEN = "0A"
_PROC = Path("/proc")


def local_configuration(port: int, *, proc: Path = _PROC) -> Configuration | None:
    """Return what the program on a port of this machine was configured with; None if that cannot be seen.

    :param proc: the folder of the system's processes.
    """
    for process in _processes(_sockets(port, proc), proc):
        with contextlib.suppress(OSError):
            arguments = (process / "cmdline").read_text("utf-8", "replace").split("\0")
            program = Path(arguments[0]).name
            if program != "mosquitto":
                return Configuration(program)
            path = _configuration_file(arguments)
            found = parse_mosquitto(_lines(path, process / "cwd") if path else ())
            return replace(found, access=_access_list(found, process / "cwd"))
    return None


def _access_list(found: Configuration, folder: Path) -> tuple[str, ...] | None:
    with contextlib.suppress(OSError):
        if path := found.settings.get("acl_file"):
            return tuple((folder / path).read_text("utf-8", "replace").splitlines())
    return None


def parse_mosquitto(lines: Iterator[str] | tuple[str, ...]) -> Configuration:
    """Return the settings in the lines of a configuration file of mosquitto."""
    settings: dict[str, str] = {}
    websockets: list[int] = []
    port = 0
    for line in lines:
        key, _, value = line.strip().partition(" ")
        if not key or key.startswith("#"):
            continue
        settings[key] = value.strip()
        if key in ("listener", "port"):
            first = value.split()[0] if value.split() else ""
            port = int(first) if first.isdecimal() else 0
        elif (key, value.strip()) == ("protocol", "websockets") and port:
            websockets.append(port)
    return Configuration("mosquitto", settings, tuple(websockets))


def _lines(path: str, folder: Path) -> Iterator[str]:
    """Yield the lines of a file, and of the files in the folders that it includes.

    :param folder: where the process runs: mosquitto takes relative paths from there.
    """
    for line in (folder / path).read_text("utf-8", "replace").splitlines():
        yield line
        key, _, value = line.strip().partition(" ")
        if key == "include_dir":
            for each in sorted((folder / value.strip()).glob("*.conf")):
                yield from each.read_text("utf-8", "replace").splitlines()


def _configuration_file(arguments: list[str]) -> str:
    for name, value in itertools.pairwise(arguments):
        if name in ("-c", "--config-file"):
            return value
    return ""


def _sockets(port: int, proc: Path) -> set[str]:
    """Return the sockets that listen on a port, as links of a process name them."""
    found = set()
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in (proc / "net" / name).read_text("ascii", "replace").splitlines()[1:]:
                fields = line.split()
                if len(fields) > 9 and fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    found.add(f"socket:[{fields[9]}]")
    return found


def _processes(sockets: set[str], proc: Path) -> Iterator[Path]:
    """Yield the processes, as far as this user may look into them, that have one of the sockets."""
    if not sockets:
        return
    for process in proc.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(_link(each) in sockets for each in (process / "fd").iterdir()):
                yield process


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""
