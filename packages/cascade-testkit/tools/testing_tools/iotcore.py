"""iotcore (rumqttd) as a broker for tests."""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path
from typing import Any

from cascade.testkit.brokers import Broker
from testing_tools.heard_brokers import anonymous_client


class IotCore(Broker):
    """rumqttd from the wheel ``iotcore``, 3.1.1, for telemetry only.

    It keeps no store, delivers at the QoS of the subscription, and sends of a great retained
    set only the beginning: no broker for control.
    """

    name = "iotcore"
    mqtt_versions = ("3.1.1",)

    @property
    def heard_at(self) -> dict[str, Any]:
        """The port of all clients."""
        return {**anonymous_client(self.host, self.port), "shows_qos": False}

    @classmethod
    def find(cls) -> str | None:
        return shutil.which("iotcore", path=sysconfig.get_path("scripts")) or shutil.which("iotcore")

    @classmethod
    def remedy(cls) -> str:
        return "pip install iotcore"

    def _configuration(self) -> str:
        return ""  # what it needs stands on its command line

    def _command(self, program: str, configuration: Path) -> list[str]:
        return [program, "--port", str(self.port), "--listen", self.host, "--log-level", "INFO"]

    def _says_ready(self, log: str) -> bool:
        return "Listening for remote connections" in log
