"""Publish numbers at a steady rate, above and below a bound in turns, as a broken sensor would.

Arguments: host and port of the broker, the topic, and how many values a second; until killed.
"""

import socket
import sys
import time

from figures.packets import connected, publish_packet

BATCH = 0.005
"""Seconds between two writes."""


def main(host: str, port: int, topic: str, rate: float) -> None:
    """Write what is due, again and again."""
    pair = publish_packet(topic, b'{"w": 900}') + publish_packet(topic, b'{"w": 700}')
    began, sent = time.monotonic(), 0
    with connected(host, port) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            pairs = int(((time.monotonic() - began) * rate - sent) / 2)
            link.sendall(pair * pairs)
            sent += 2 * pairs
            time.sleep(BATCH)


main(sys.argv[1], int(sys.argv[2]), sys.argv[3], float(sys.argv[4]))
