"""Listen to telemetry as any MQTT program would; after each run print what came of it, one JSON line each.

Arguments: host and port of the broker. It knows nothing of Cascade but the topics and the JSON.
"""

import json
import sys
import time
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion


def report(payloads: list[bytes | bytearray], last: float) -> str:
    """Tell how many events of one run arrived, and when the last one did (seconds since the epoch)."""
    sequence = [json.loads(payload)["seq"] for payload in payloads]
    return json.dumps({"events": len(set(sequence)), "in_order": sequence == sorted(sequence), "last": last})


def main() -> None:
    """Listen until the standard input or the broker ends."""
    runs: dict[str, list[bytes | bytearray]] = {}

    def on_message(_client: Client, _userdata: Any, message: MQTTMessage) -> None:
        run = runs.setdefault(message.topic, [])
        run.append(message.payload)
        if b'"ENGINE_STOPPED"' in message.payload:
            print(report(runs.pop(message.topic), time.time()), flush=True)

    def on_subscribe(*_: Any) -> None:
        print(json.dumps({"listening": True}), flush=True)

    client = Client(CallbackAPIVersion.VERSION2)
    client.on_message = on_message
    client.on_subscribe = on_subscribe
    client.connect(sys.argv[1], int(sys.argv[2]))
    client.subscribe("cascade/telemetry/+/+/+/events", qos=1)
    client.loop_forever()


main()
