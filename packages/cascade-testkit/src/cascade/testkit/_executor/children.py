"""The processes that this one has started, where the system lists them (Linux)."""

from __future__ import annotations

from pathlib import Path

_INTERPRETERS_OWN = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")


def children() -> dict[int, str]:
    """Return the command of each process below this one; those of ``multiprocessing`` itself do not count."""
    found: dict[int, str] = {}
    waiting = [Path("/proc/self/task")]
    while waiting:
        for thread in _listed(waiting.pop()):
            for number in _read(thread / "children").split():
                command = _read(Path(f"/proc/{number}/cmdline")).replace("\0", " ").strip()
                if not any(name in command for name in _INTERPRETERS_OWN):
                    found[int(number)] = command or "a process that has ended and was not waited for"
                    waiting.append(Path(f"/proc/{number}/task"))
    return found


def open_sockets(process: int) -> list[str]:
    """Return what the files that a process has open are, those that are sockets."""
    targets = []
    for link in Path(f"/proc/{process}/fd").iterdir():
        try:
            targets.append(str(link.readlink()))
        except OSError:  # closed meanwhile
            continue
    return [target for target in targets if target.startswith("socket:")]


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:  # the process has ended meanwhile
        return []


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it has ended meanwhile
        return ""
