"""Step 3: the connector. It makes clients and links, and explains why there is none."""

from typing import Any

from cascade.interfaces.logs import get_logger
from cascade.transport.connector import NetworkConnector
from cascade.transport.faults import Fault, Kind, of_system
from cascade.transport.link import LinkParts
from cascade.transport.settings import ConnectorSettings, check
from hub_connector._client import HubClient
from hub_connector._link import HubLink

log = get_logger("cascade.connectors.hub")


class HubConnector(NetworkConnector):
    """A connector to a hub; ``keywords`` are those of ``ConnectorSettings``."""

    def __init__(self, hostname: str, port: int, **keywords: Any) -> None:
        settings = ConnectorSettings(hostname, port, **keywords)
        check(settings, max_window=10_000, window_reason="a hub needs")
        super().__init__(settings, log=log)

    def _make_client(self) -> HubClient:
        will = self._presence.begin()
        message = {"topic": will["topic"], "payload": will["payload"], "retain": will.get("retain", False)}
        shown = message if self._settings.presence else None
        return HubClient(self.hostname, self.port, shown, self._dispatcher.delivery)

    def _make_link(self, client: HubClient, parts: LinkParts) -> HubLink:
        return HubLink(client, parts, explain=self._explain)

    def _explain(self, exc: BaseException | None) -> Fault:
        if exc is None or isinstance(exc, TimeoutError):
            return Fault(Kind.SILENT, "the hub did not answer in time; check host and port")
        return of_system(str(exc), exc) or Fault(Kind.CLOSED, str(exc), blames=True)
