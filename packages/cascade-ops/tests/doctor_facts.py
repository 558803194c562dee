"""The doctor's inner parts that these tests use, and a broker that is in order: tests change one fact of it."""

from __future__ import annotations

from cascade.ops._commands.doctor import findings
from cascade.ops._doctor import broker_probes, examination, network_probes
from cascade.ops._doctor.broker_probes import Examined, count_queued, read_back, read_version, retained
from cascade.ops._doctor.examination import Examination, files_of, target_of
from cascade.ops._doctor.facts import (
    Certificate,
    Configuration,
    Facts,
    Files,
    Login,
    Reachability,
    Retained,
    Right,
    Target,
)
from cascade.ops._doctor.finding import Finding, parted
from cascade.ops._doctor.local_server import local_configuration
from cascade.ops._doctor.network_probes import find_websocket, try_port, try_tls
from cascade.ops._doctor.report import lines_of, plan_of
from cascade.ops._doctor.rights_checks import EVENTS, OWN_SYNC, PRESENCE, PROGRESS, STEERING, SYNC
from cascade.wire import View

__all__ = [
    "EVENTS",
    "OWN_SYNC",
    "PRESENCE",
    "PROGRESS",
    "STEERING",
    "SYNC",
    "Certificate",
    "Configuration",
    "Examination",
    "Examined",
    "Facts",
    "Files",
    "Finding",
    "Login",
    "Reachability",
    "Retained",
    "Right",
    "Target",
    "broker_probes",
    "count_queued",
    "examination",
    "files_of",
    "find_websocket",
    "findings",
    "lines_of",
    "local_configuration",
    "network_probes",
    "parted",
    "plan_of",
    "read_back",
    "read_version",
    "retained",
    "target_of",
    "try_port",
    "try_tls",
]

NOW = 1_800_000_000.0
FAR = Target("mqtts", "broker.example", 8883, user="press-3", source_id="press-3")
CONFIGURED = Configuration(
    "mosquitto",
    {"persistence": "true", "autosave_interval": "1", "max_queued_messages": "65000"},
    (8080,),
)


def right(topic: str, *, returned: bool = False, refused: bool = False) -> Right:
    """What became of a message on a topic."""
    return Right(topic, returned, refused)


def good() -> Facts:
    """A broker with rules, examined with the settings of an engine: nothing is wrong."""
    return Facts(
        FAR,
        reachability=Reachability(),
        certificate=Certificate(ends=NOW + 90 * 86_400),
        login=Login(linked=True, mqtt5=True),
        rights={
            PRESENCE: right("cascade/status/doctor-1", refused=True),
            EVENTS: right("cascade/telemetry/local/default/doctor-1/events"),
            PROGRESS: right("cascade/telemetry/local/default/doctor-1/progress"),
            SYNC: right("cascade/sync/doctor-1/doctor-1", returned=True),
        },
        retained=Retained(100, exact=True, received=100, queued=100),
        view=View(),
        configuration=CONFIGURED,
        websocket=True,
    )
