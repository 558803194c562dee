"""A probe: does an MQTT broker answer?"""

from __future__ import annotations

import socket
import ssl

# MQTT 3.1.1, section 3.1
_CONNECT = b"\x10\x17\x00\x04MQTT\x04\x02\x00\x3c\x00\x0bcascade-try"
_CONNACK = 0x20
_DISCONNECT = b"\xe0\x00"


def answers_mqtt(host: str, port: int, *, tls: ssl.SSLContext | None = None) -> bool:
    """Return whether a port answers an MQTT CONNECT within 2 s, be it with a refusal."""
    try:
        with socket.create_connection((host, port), timeout=2.0) as plain:
            link = plain if tls is None else tls.wrap_socket(plain)
            with link:
                link.sendall(_CONNECT)
                answer = link.recv(4)
                link.sendall(_DISCONNECT)
                return answer[:1] == bytes((_CONNACK,))
    except ssl.SSLError:
        return True  # it asks for a certificate, so it is there
    except OSError:
        return False
