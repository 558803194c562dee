"""Facts about a broker that is in order: tests change one of them."""

from __future__ import annotations

from ops_modules import (
    EVENTS,
    PRESENCE,
    PROGRESS,
    SYNC,
    Certificate,
    Configuration,
    Facts,
    Login,
    Reachability,
    Retained,
    Right,
    Target,
)

from cascade.wire import View

NOW = 1_800_000_000.0
FAR = Target("mqtts", "broker.example", 8883, user="press-3", source_id="press-3")
CONFIGURED = Configuration(
    "mosquitto",
    {
        "persistence": "true",
        "autosave_interval": "1",
        "max_queued_messages": "65000",
        "persistent_client_expiration": "14d",
    },
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
