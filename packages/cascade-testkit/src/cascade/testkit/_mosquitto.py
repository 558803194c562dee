"""Eclipse mosquitto as a broker for tests."""

from __future__ import annotations

import os
import signal
import ssl
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from cascade.interfaces.broker_programs import MOSQUITTO, Listener, password_line
from cascade.testkit._broker import Broker, Certificates

_LARGEST_PACKET = "max_packet_size 268435455"
"""As large as MQTT permits: by default mosquitto 2.1 takes 2 MB, and 2.0 any."""
_SAVE_SECONDS = 60.0


class Mosquitto(Broker):
    """Eclipse mosquitto 2, MQTT 3.1.1 and 5, from the system's packages.

    :param durable: write the store in every iteration of its loop that changed something, after the answers of that
        iteration: a SIGKILL loses at most what it has acknowledged within the last milliseconds. Otherwise the
        store is written on a clean end only, as mosquitto does by default.
    :param max_queued_messages: for each client; 0 means without a limit. Mosquitto's own default, 1,000,
        cuts a large set of retained messages at QoS 1.
    :param users: passwords by user name; anonymous clients are then refused.
    :param acl: lines of an ACL file.
    :param tls: speak TLS with these certificates.
    :param require_certificate: refuse clients without a certificate of the same authority.
    :param lines: further lines of its configuration file.
    """

    name = "mosquitto"
    mqtt_versions = ("3.1.1", "5")

    def __init__(
        self,
        *,
        port: int | None = None,
        durable: bool = False,
        max_queued_messages: int = 0,
        users: Mapping[str, str] | None = None,
        allow_anonymous: bool | None = None,
        acl: Sequence[str] = (),
        tls: Certificates | None = None,
        require_certificate: bool = False,
        lines: Sequence[str] = (),
        start_timeout: float = 60.0,
    ) -> None:
        super().__init__(port=port, start_timeout=start_timeout)
        self._durable = durable
        self._max_queued_messages = max_queued_messages
        self._users = dict(users or {})
        self._allow_anonymous = not self._users if allow_anonymous is None else allow_anonymous
        self._acl = tuple(acl)
        self._tls = tls
        self._require_certificate = require_certificate
        self._lines = tuple(lines)

    @property
    def url(self) -> str:
        return super().url if self._tls is None else f"mqtts://{self.host}:{self.port}"

    def save(self) -> None:
        """Have it write its store now (SIGUSR1), and return when it has. Not on Windows.

        :raises BrokerFailedError: if it is not running, or does not write in time.
        """
        before = self._saved()
        deadline = time.monotonic() + _SAVE_SECONDS
        os.kill(self.pid, signal.SIGUSR1)
        while self._saved() == before:
            if time.monotonic() > deadline:
                raise self._failed("did not write its store in time")
            time.sleep(0.01)

    def _saved(self) -> tuple[int, int] | None:
        """Return what changes whenever the store is written: it is a new file each time."""
        try:
            found = (self._store / "mosquitto.db").stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns

    @classmethod
    def find(cls) -> str | None:
        return MOSQUITTO.find()

    @classmethod
    def remedy(cls) -> str:
        return MOSQUITTO.remedy()

    def _configuration(self) -> str:
        lines = MOSQUITTO.configuration(Listener(self.host, self.port), self._store)
        # of a setting that is given twice mosquitto takes the last; an interval of 0 saves on a clean end only
        limits = [
            f"max_queued_messages {self._max_queued_messages}",
            _LARGEST_PACKET,
            f"autosave_on_changes {str(self._durable).lower()}",
            f"autosave_interval {int(self._durable)}",
        ]
        return "\n".join([*lines, *self._tls_lines(), *limits, *self._access(), *self._lines, ""])

    def _tls_lines(self) -> list[str]:
        if self._tls is None:
            return []
        lines = [f"cafile {self._tls.ca}", f"certfile {self._tls.cert}", f"keyfile {self._tls.key}"]
        return [*lines, f"require_certificate {str(self._require_certificate).lower()}"]

    def _access(self) -> list[str]:
        lines = [f"allow_anonymous {str(self._allow_anonymous).lower()}"]
        if self._users:
            passwords = [password_line(user, password) for user, password in self._users.items()]
            lines.append(f"password_file {self._write('passwords', passwords)}")
        if self._acl:
            lines.append(f"acl_file {self._write('acl', self._acl)}")
        return lines

    def _write(self, name: str, lines: Sequence[str]) -> Path:
        path = self.folder / name
        path.write_text("\n".join([*lines, ""]), encoding="utf-8")
        path.chmod(0o600)
        return path

    def _command(self, program: str, configuration: Path) -> list[str]:
        return MOSQUITTO.command(program, configuration)

    def _says_ready(self, log: str) -> bool:
        return MOSQUITTO.says_ready(log)

    def _client_context(self) -> ssl.SSLContext | None:
        if self._tls is None:
            return None
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
