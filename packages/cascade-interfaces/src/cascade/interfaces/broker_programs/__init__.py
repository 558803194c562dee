"""MQTT brokers as programs of this machine: where they are, how to install and configure them.

The command ``cascade broker`` and the brokers of the testkit use them. mosquitto is a package of the
system; nats-server is a wheel, and installs wherever Python does.
"""

from cascade.interfaces.broker_programs.child import Child
from cascade.interfaces.broker_programs.mosquitto import (
    DURABLE,
    IN_FLIGHT,
    MOSQUITTO,
    QUEUED_MESSAGES,
    SESSIONS_END,
)
from cascade.interfaces.broker_programs.nats_server import NATS_SERVER
from cascade.interfaces.broker_programs.passwords import password_line
from cascade.interfaces.broker_programs.probe import answers_mqtt
from cascade.interfaces.broker_programs.program import BrokerProgram, Listener, says_port_in_use

__all__ = [
    "DURABLE",
    "IN_FLIGHT",
    "MOSQUITTO",
    "NATS_SERVER",
    "QUEUED_MESSAGES",
    "SESSIONS_END",
    "BrokerProgram",
    "Child",
    "Listener",
    "answers_mqtt",
    "password_line",
    "says_port_in_use",
]
