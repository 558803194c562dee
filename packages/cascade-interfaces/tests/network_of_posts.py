"""A network whose settings are like those of others."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from cascade.transport.settings import ConnectorSettings, Network

LOG = "cascade.test.network"
POST = Network(
    connector="PostConnector",
    ports={"post": 4000, "posts": 4443, "mail": 4025},
    usual_port="post offices use 4000",
    example="write post://host:4000",
    window_reason="a post office needs",
    variables="CASCADE_TEST_POST",
    encrypted=("posts",),
    tls=("tls", "franking"),
    texts=("stamp",),
    proofs={"stamp": "the stamp", "letter": "the letter", "seal": "the seal"},
    files={"letter": "LETTER", "seal": "SEAL"},
    with_path=("mail",),
    in_url={"franking": ("1", "2")},
    log=logging.getLogger(LOG),
)
KNOWN = {*POST.proofs, *POST.tls}


def settings_of(hostname: object = "host", port: object = 4000, **keywords: Any) -> ConnectorSettings:
    """Return what the constructor of a connector makes of its arguments."""

    def client(given: Mapping[str, Any]) -> Mapping[str, Any]:
        return given

    return POST.settings(ConnectorSettings, hostname, port, keywords, client=client, known=KNOWN)
