"""Ask a service for a workflow at a steady rate, as any MQTT program would; print how many requests got which code.

Arguments: host and port of the broker, the topic of the requests, their payload, the filter of the responses, how many
requests a second, and for how many seconds.
"""

import json
import sys
import threading
import time
from collections import Counter
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

PATIENCE = 30.0


def main(host: str, port: int, topic: str, payload: str, answers: str, rate: float, seconds: float) -> None:
    """Ask, wait for the answers, and print."""
    codes: Counter[str] = Counter()
    subscribed = threading.Event()

    def on_message(_client: Client, _userdata: Any, message: MQTTMessage) -> None:
        codes[json.loads(message.payload).get("code", "")] += 1

    client = Client(CallbackAPIVersion.VERSION2)
    client.on_message = on_message
    client.on_subscribe = lambda *_: subscribed.set()
    client.connect(host, port)
    client.subscribe(answers, 1)
    client.loop_start()
    subscribed.wait(PATIENCE)
    began, asked = time.monotonic(), 0
    while (elapsed := time.monotonic() - began) < seconds:
        while asked < elapsed * rate:
            client.publish(topic, payload, 1)
            asked += 1
        time.sleep(0.001)
    took, deadline = time.monotonic() - began, time.monotonic() + PATIENCE
    while codes.total() < asked and time.monotonic() < deadline:
        time.sleep(0.01)
    print(json.dumps({"asked": asked, "seconds": took, "codes": codes}))


main(
    sys.argv[1],
    int(sys.argv[2]),
    sys.argv[3],
    sys.argv[4],
    sys.argv[5],
    float(sys.argv[6]),
    float(sys.argv[7]),
)
