"""One task; with a port as argument, over MQTT under a name."""

import sys

import cascade as cs


@cs.task
def hello(name: str) -> str:
    """Greet."""
    return f"Hello, {name}!"


if __name__ == "__main__":
    connector = None
    if len(sys.argv) > 1:
        from cascade.connectors.mqtt import MqttConnector

        connector = MqttConnector("127.0.0.1", int(sys.argv[1]), source_id="hello")
    cs.run(hello("world"), connector=connector)
