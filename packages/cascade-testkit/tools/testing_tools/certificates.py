"""Certificates of an authority made on the spot, for brokers that speak TLS on loopback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trustme

from cascade.testkit.brokers import Certificates


def make_certificates(folder: Path, *names: str, client: str = "cascade-client") -> Certificates:
    """Make a new authority, with a server's and a client's certificate, in ``folder``.

    :param names: host names and addresses for which the server's certificate is valid;
        ``127.0.0.1`` and ``localhost`` when none is given.
    """
    folder.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    made = Certificates(
        *(folder / f"{name}.pem" for name in ("ca", "cert", "key", "client-cert", "client-key"))
    )
    authority.cert_pem.write_to_path(str(made.ca))
    server = authority.issue_cert(*(names or ("127.0.0.1", "localhost")))
    _write(server, made.cert, made.key)
    _write(authority.issue_cert(client, common_name=client), made.client_cert, made.client_key)
    return made


def _write(leaf: Any, cert: Path, key: Path) -> None:
    leaf.private_key_pem.write_to_path(str(key))
    key.chmod(0o600)
    for index, blob in enumerate(leaf.cert_chain_pems):
        blob.write_to_path(str(cert), append=index > 0)
