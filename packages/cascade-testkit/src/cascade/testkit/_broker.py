"""The base of every broker: a process, a folder, a port of its own, and a way to know that it answers."""

from __future__ import annotations

import shutil
import ssl
import tempfile
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Protocol, Self

from cascade.interfaces import ExternalError, UsageError
from cascade.interfaces.broker_programs import Child, answers_mqtt, says_port_in_use
from cascade.testkit.ports import free_port

_STOP_SECONDS = 60.0  # one that is killed loses its store


class BrokerNotFoundError(UsageError, LookupError):
    """The program of a broker is not installed; the message states how to install it."""

    def __init__(self, name: str, remedy: str) -> None:
        self.name = name
        super().__init__(f"{name} is not installed: {remedy}")


class BrokerFailedError(ExternalError, RuntimeError):
    """A broker did not start; ``log`` contains what it wrote."""

    def __init__(self, name: str, problem: str, log: str) -> None:
        self.name = name
        self.log = log
        tail = "\n".join(f"  | {line}" for line in log.splitlines()[-20:]) or "  | (nothing)"
        super().__init__(f"{name} {problem}; its log ends with\n{tail}")


@dataclass(frozen=True, slots=True)
class Certificates:
    """Paths of PEM files: the authority's certificate, a server's pair and a client's pair."""

    ca: Path
    cert: Path
    key: Path
    client_cert: Path
    client_key: Path


class BrokerObserver(Protocol):
    """Called for every broker of a process: for a suite that checks what its brokers deliver. It must not raise."""

    def configuration(self, broker: Broker, text: str) -> str:
        """Return the configuration with which the broker is started, from its own."""

    def started(self, broker: Broker) -> None:
        """Take note of a broker that answers; called after each of its starts, before ``start`` returns."""

    def ended(self, broker: Broker) -> None:
        """Take note that the broker's process is gone; called more than once, also if it never answered."""


class Broker(ABC):
    """A broker's process and its folder. Made stopped; ``start()`` or ``with`` starts it."""

    name: ClassVar[str]
    mqtt_versions: ClassVar[tuple[str, ...]]
    observer: ClassVar[BrokerObserver | None] = None
    """Of all brokers of this process."""

    def __init__(self, *, port: int | None = None, start_timeout: float = 60.0) -> None:
        self.host = "127.0.0.1"
        self._wanted_port = port
        self._port = port
        self._start_timeout = start_timeout
        self._child: Child | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._log = ""

    @property
    def port(self) -> int:
        """The port it listens on, the same through every restart.

        :raises BrokerFailedError: before the first start, if none was asked for.
        """
        if self._port is None:
            raise BrokerFailedError(self.name, "has no port before it is started", self._log)
        return self._port

    @property
    def url(self) -> str:
        """Where clients connect to."""
        return f"mqtt://{self.host}:{self.port}"

    @property
    def folder(self) -> Path:
        """The folder of its files, from the first start to ``stop()``.

        :raises BrokerFailedError: at any other time.
        """
        if self._folder is None:
            raise BrokerFailedError(self.name, "has no folder before it is started", self._log)
        return Path(self._folder.name)

    @property
    def pid(self) -> int:
        """The process id.

        :raises BrokerFailedError: if it is not running.
        """
        return self._running_child().pid

    @property
    def running(self) -> bool:
        """Whether its process is there (a frozen one is)."""
        return self._child is not None and self._child.running

    @property
    def log(self) -> str:
        """What it has written so far, through every restart; still there after ``stop()``."""
        if self._folder is not None and self._log_file.exists():
            self._log = self._log_file.read_text(encoding="utf-8", errors="replace")
        return self._log

    def start(self) -> Self:
        """Start it and return when it answers clients; do nothing while it runs.

        :raises BrokerNotFoundError: if it is not installed.
        :raises BrokerFailedError: if it does not answer in time.
        """
        if self.running:
            return self
        command = self._find_program()
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="cascade-broker-", ignore_cleanup_errors=True)
        try:
            self._start(command, time.monotonic() + self._start_timeout)
        finally:
            if not self.running:
                self.stop()
        if self.observer is not None:
            self.observer.started(self)
        return self

    def stop(self) -> None:
        """End it and remove its folder. Idempotent."""
        self.terminate()
        if self._folder is not None:
            _ = self.log  # keeps the text
            self._folder.cleanup()
            self._folder = None
        self._port = self._wanted_port

    def kill(self) -> None:
        """End it at once (SIGKILL) and wait until it is gone; nothing happens if it is gone already."""
        if self._child is not None:
            self._child.kill()
            self._child = None
        self._gone()

    def terminate(self) -> None:
        """Ask it to end (SIGTERM), which writes its store, and wait; kill it after a minute."""
        if self._child is not None:
            self._child.terminate(_STOP_SECONDS)
            self._child = None
        self._gone()

    def freeze(self) -> None:
        """Stop its execution (SIGSTOP): its sockets stay open and nothing answers. Not on Windows."""
        self._running_child().freeze()

    def thaw(self) -> None:
        """Let a frozen one go on (SIGCONT)."""
        self._running_child().thaw()

    def restart(self, *, keep_store: bool = True) -> Self:
        """Start it again on its port; terminate it first if it runs.

        :param keep_store: False: it comes back with nothing retained and no session.
        """
        self.terminate()
        if not keep_store:
            shutil.rmtree(self._store, ignore_errors=True)
        return self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = f"pid {self.pid}" if self.running else "stopped"
        return f"<{type(self).__name__} on port {self._port}, {state}>"

    @classmethod
    @abstractmethod
    def find(cls) -> str | None:
        """Return the path of the installed program, or None."""

    @classmethod
    @abstractmethod
    def remedy(cls) -> str:
        """Return how to install it."""

    @abstractmethod
    def _configuration(self) -> str:
        """Return the text of the configuration file for ``self.port``."""

    @abstractmethod
    def _command(self, program: str, configuration: Path) -> list[str]: ...

    @abstractmethod
    def _says_ready(self, log: str) -> bool:
        """Return whether the log of this start shows that the broker listens on its port."""

    def _client_context(self) -> ssl.SSLContext | None:
        return None

    @property
    def _log_file(self) -> Path:
        return self.folder / "broker.log"

    @property
    def _store(self) -> Path:
        return self.folder / "store"

    def _running_child(self) -> Child:
        if self._child is None or not self._child.running:
            raise self._failed("is not running")
        return self._child

    def _gone(self) -> None:
        if self.observer is not None:
            self.observer.ended(self)

    def _failed(self, problem: str) -> BrokerFailedError:
        return BrokerFailedError(self.name, problem, self.log)

    def _find_program(self) -> str:
        program = self.find()
        if program is None:
            raise BrokerNotFoundError(self.name, self.remedy())
        return program

    def _start(self, program: str, deadline: float) -> None:
        while not self._attempt(program, deadline):
            if time.monotonic() > deadline:
                raise self._failed("could not bind its port")

    def _attempt(self, program: str, deadline: float) -> bool:
        """Start once; return False if it ended at once, as it does when another program has its port."""
        first = self._port is None
        self._port = self._port or free_port()
        self._store.mkdir(exist_ok=True)
        configuration = self.folder / "broker.conf"
        text = self._configuration()
        if self.observer is not None:
            text = self.observer.configuration(self, text)
        configuration.write_text(text, encoding="utf-8")
        before = len(self.log)
        self._child = Child(self._command(program, configuration), log=self._log_file)
        if self._wait_until_ready(before, deadline):
            return True
        code = self._child.exit_code
        self.kill()
        if not self._port_was_taken(before):
            raise self._failed("did not answer in time" if code is None else f"ended with exit code {code}")
        if first:
            self._port = None
        time.sleep(0.05)
        return False

    def _port_was_taken(self, before: int) -> bool:
        return says_port_in_use(self.log[before:])

    def _wait_until_ready(self, before: int, deadline: float) -> bool:
        while self.running and time.monotonic() < deadline:
            if self._says_ready(self.log[before:]) and self._answers():
                return True
            time.sleep(0.01)
        return False

    def _answers(self) -> bool:
        return answers_mqtt(self.host, self.port, tls=self._client_context())
