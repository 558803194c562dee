"""RabbitMQ with its MQTT plugin as a broker for tests."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from cascade.testkit.brokers import Broker
from cascade.testkit.ports import free_port
from testing_tools.heard_brokers import anonymous_client

_PROGRAM = "/usr/lib/rabbitmq/bin/rabbitmq-server"  # the one in /usr/sbin changes the user and the folder


class RabbitMq(Broker):
    """RabbitMQ of the system with the plugin ``rabbitmq_mqtt``, 3.1.1.

    It sends no retained messages for a filter with a wildcard. Its Erlang port mapper (epmd) gets a
    port of its own and ends with it.
    """

    name = "rabbitmq"
    mqtt_versions = ("3.1.1",)

    def __init__(self, *, port: int | None = None, start_timeout: float = 90.0) -> None:
        super().__init__(port=port, start_timeout=start_timeout)
        self._mapper: int | None = None

    @property
    def heard_at(self) -> dict[str, Any]:
        """The port of all clients. Its answer to a ping may overtake messages."""
        return anonymous_client(self.host, self.port)

    @classmethod
    def find(cls) -> str | None:
        return _PROGRAM if Path(_PROGRAM).exists() else None

    @classmethod
    def remedy(cls) -> str:
        return "apt install rabbitmq-server"

    def terminate(self) -> None:
        """Do what every broker does, and end the port mapper."""
        super().terminate()
        self._end_mapper()

    def kill(self) -> None:
        """Do what every broker does, and end the port mapper."""
        super().kill()
        self._end_mapper()

    def _configuration(self) -> str:
        return "\n".join(
            [
                f"mqtt.listeners.tcp.1 = {self.host}:{self.port}",
                "mqtt.allow_anonymous = true",
                "listeners.tcp = none",
                "loopback_users = none",
                "log.console = true",
                "log.console.level = info",
                "log.file = false",
                "",
            ]
        )

    def _command(self, program: str, configuration: Path) -> list[str]:
        plugins = self.folder / "enabled_plugins"
        plugins.write_text("[rabbitmq_mqtt].\n", encoding="utf-8")
        self._mapper = free_port()
        environment = {
            "HOME": self.folder,
            "RUNNING_UNDER_SYSTEMD": "1",  # its start script then becomes the server, with one process id
            "RABBITMQ_NODENAME": f"cascade-{self.port}@localhost",
            "RABBITMQ_DIST_PORT": free_port(),
            "RABBITMQ_CONFIG_FILE": configuration,
            "RABBITMQ_ENABLED_PLUGINS_FILE": plugins,
            "RABBITMQ_MNESIA_BASE": self._store,
            "RABBITMQ_LOG_BASE": self.folder,
            "RABBITMQ_PID_FILE": self.folder / "pid",
            "RABBITMQ_LOGS": "-",
            "ERL_EPMD_PORT": self._mapper,
            "ERL_EPMD_ADDRESS": self.host,
        }
        return ["env", *(f"{name}={value}" for name, value in environment.items()), program]

    def _says_ready(self, log: str) -> bool:
        return "Server startup complete" in log

    def _end_mapper(self) -> None:
        port, self._mapper = self._mapper, None
        if port is not None and (program := shutil.which("epmd")) is not None:
            subprocess.run([program, "-port", str(port), "-kill"], check=False, capture_output=True)
