"""Listen to telemetry as any MQTT program would; when asked, print what came since, one JSON line each.

Arguments: host and port of the broker. A message to ``bench/report`` asks; it is sent at QoS 1, as
telemetry is, so that it comes after what was sent before it.
"""

import json
import sys
import time
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

EVENTS = "cascade/telemetry/+/+/+/events"
REPORT = "bench/report"


def report(payloads: list[bytes | bytearray], last: float) -> str:
    """Tell how many events of one run arrived, and when the last one did (seconds since the epoch)."""
    sequence = [json.loads(payload)["seq"] for payload in payloads]
    return json.dumps({"events": len(set(sequence)), "in_order": sequence == sorted(sequence), "last": last})


def main() -> None:
    """Listen until killed."""
    payloads: list[bytes | bytearray] = []
    last = 0.0

    def on_message(_client: Client, _userdata: Any, message: MQTTMessage) -> None:
        nonlocal last
        if message.topic == REPORT:
            print(report(payloads, last), flush=True)
            payloads.clear()
        else:
            payloads.append(message.payload)
            last = time.time()

    def on_subscribe(*_: Any) -> None:
        print(json.dumps({"listening": True}), flush=True)

    client = Client(CallbackAPIVersion.VERSION2)
    client.on_message = on_message
    client.on_subscribe = on_subscribe
    client.connect(sys.argv[1], int(sys.argv[2]))
    client.subscribe([(EVENTS, 1), (REPORT, 1)])
    client.loop_forever()


main()
