"""Real brokers on free loopback ports, as plain objects: for tests, demonstrations and benchmarks.

    with start_broker() as broker:
        print(broker.url)  # mqtt://127.0.0.1:23456

A broker can be killed, frozen and restarted on its own port, with its store or without. What
it wrote to its log stands in ``broker.log`` and in the error if it does not start.
"""

from __future__ import annotations

from cascade.testkit._broker import (
    Broker,
    BrokerFailedError,
    BrokerNotFoundError,
    BrokerObserver,
    Certificates,
)
from cascade.testkit._mosquitto import Mosquitto
from cascade.testkit._nats import NatsServer

__all__ = [
    "Broker",
    "BrokerFailedError",
    "BrokerNotFoundError",
    "BrokerObserver",
    "Certificates",
    "Mosquitto",
    "NatsServer",
    "start_broker",
]


def start_broker(*, port: int | None = None) -> Broker:
    """Start whichever broker is installed, mosquitto before nats-server, and return it running.

    :raises BrokerNotFoundError: if there is none; the message states what to install.
    """
    for kind in (Mosquitto, NatsServer):
        if kind.find() is not None:
            return kind(port=port).start()
    raise BrokerNotFoundError("an MQTT broker", f"{NatsServer.remedy()}, or {Mosquitto.remedy()}")
