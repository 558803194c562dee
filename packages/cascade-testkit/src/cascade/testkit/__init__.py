"""Contract suites for connectors and executors, and what tests need beside them: real brokers, real faults."""

from cascade.testkit.brokers import Broker, BrokerNotFoundError, Mosquitto, NatsServer, start_broker
from cascade.testkit.leaks import no_leaks
from cascade.testkit.naming import unique_topic
from cascade.testkit.waiting import eventually, time_limit

__all__ = [
    "Broker",
    "BrokerNotFoundError",
    "Mosquitto",
    "NatsServer",
    "eventually",
    "no_leaks",
    "start_broker",
    "time_limit",
    "unique_topic",
]
