"""What the metadata claim is what is tested; what a system lacks, the call says."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import cascade as cs
from cascade.interfaces import ConfigurationError, StateUnavailable

ROOT = Path(__file__).parents[3]
NO_LOCKS = r"needs file locks \(flock\), which this system does not have; use Linux or macOS, or leave it out"


@cs.task(mode="inline")
def one() -> int:
    return 1


def claimed(kind: str) -> set[tuple[str, ...]]:
    """What the classifiers of each distribution say of one kind: one set, if all say the same."""
    projects = (
        tomllib.loads(path.read_text("utf-8"))["project"] for path in ROOT.glob("packages/*/pyproject.toml")
    )
    return {
        tuple(found[1] for each in project["classifiers"] if (found := re.fullmatch(kind, each)))
        for project in projects
    }


def test_the_classifiers_name_what_is_tested() -> None:
    """Every Python of the workflow, from the oldest that pip accepts on; and the systems whose failure stops a change."""
    workflow = (ROOT / ".github/workflows/ci.yml").read_text("utf-8")
    systems = re.search(r"\n +os: \[(.*)\]", workflow)
    pythons = re.search(r"\n +python: \[(.*)\]", workflow)
    assert systems
    assert pythons
    assert claimed(r"Programming Language :: Python :: (3\.\d+)") == {
        tuple(re.findall(r"3\.\d+", pythons[1]))
    }
    assert claimed(r"Operating System :: (.*)") == {("MacOS", "POSIX :: Linux")}
    assert systems[1] == "ubuntu-latest, macos-latest, windows-latest"
    assert "continue-on-error: ${{ matrix.os == 'windows-latest' }}" in workflow


def test_what_needs_file_locks_is_refused_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows: at the call, with what to do; and a run without both runs."""
    monkeypatch.setattr("cascade.runtime._storage.process_lock.fcntl", None)
    with pytest.raises(StateUnavailable, match=NO_LOCKS):
        cs.run(one(), state=tmp_path / "runs", run_id="night")
    with pytest.raises(ConfigurationError, match=NO_LOCKS):
        cs.run(one(), connector="mqtt://127.0.0.1:9?source_id=press", outbox=tmp_path / "outbox")
    assert not (tmp_path / "outbox").exists()
    assert cs.run(one()) == 1


WITHOUT = """
import asyncio, concurrent.futures.process, multiprocessing.connection, os, select, signal, sqlite3, ssl, subprocess, sys, time
import distributed, prometheus_client, pytest  # they ask for the system, as the standard library does
for module in ("fcntl", "grp", "pwd", "resource", "termios", "tty"):
    sys.modules[module] = None
for owner, names in {
    os: "fork geteuid getuid getloadavg killpg O_NOFOLLOW pread pwrite register_at_fork sysconf waitid",
    select: "epoll poll",
    signal: "pthread_sigmask SIG_BLOCK SIG_SETMASK SIGCONT SIGHUP SIGSTOP SIGUSR1",
    time: "clock_gettime CLOCK_BOOTTIME",
}.items():
    for name in names.split():
        if hasattr(owner, name):
            delattr(owner, name)

import importlib, pkgutil
import cascade as cs
from cascade.runtime import LocalConnector, LocalHub

for found in pkgutil.walk_packages(cs.__path__, "cascade."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)

@cs.task
def double(x):
    return 2 * x

print(cs.run(double(double.map(x=range(3)))[0]), cs.run(double(1), connector=LocalConnector(LocalHub())))
"""


@pytest.mark.full
@pytest.mark.process
def test_every_module_is_imported_without_what_windows_lacks() -> None:
    """And a run starts, runs and ends."""
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("0 2\n", "")
