"""aedes, a broker library of Node.js, as a broker for tests."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from cascade.testkit.brokers import Broker
from testing_tools.heard_brokers import anonymous_client

FOLDER = "CASCADE_AEDES"

_PROGRAM = """
import net from "node:net";
import {{ Aedes }} from {module};
const broker = await Aedes.createBroker();
net.createServer(broker.handle).listen({port}, {host}, () => console.log("aedes is listening"));
process.on("SIGTERM", () => process.exit(0));
"""


class Aedes(Broker):
    """aedes on Node.js, 3.1.1. It answers a message before the retained messages of an earlier SUBSCRIBE.

    The environment variable ``CASCADE_AEDES`` names the folder in which ``npm install aedes`` was
    run; the default is the working directory. It keeps nothing through a restart.
    """

    name = "aedes"
    mqtt_versions = ("3.1.1",)

    @property
    def heard_at(self) -> dict[str, Any]:
        """The port of all clients. Its answer to a ping may overtake messages."""
        return anonymous_client(self.host, self.port)

    @classmethod
    def find(cls) -> str | None:
        return shutil.which("node") if _module().exists() else None

    @classmethod
    def remedy(cls) -> str:
        return f"install Node.js, run `npm install aedes`, and set {FOLDER} to the folder where you ran it"

    def _configuration(self) -> str:
        module, host = _module().resolve().as_uri(), self.host
        return _PROGRAM.format(module=json.dumps(module), host=json.dumps(host), port=self.port)

    def _command(self, program: str, configuration: Path) -> list[str]:
        return [program, "--input-type=module", "--eval", configuration.read_text(encoding="utf-8")]

    def _says_ready(self, log: str) -> bool:
        return "aedes is listening" in log


def _module() -> Path:
    return Path(os.environ.get(FOLDER, ".")) / "node_modules" / "aedes" / "aedes.js"
