"""Step 3: the connector. It makes clients and links, and explains why there is none."""

from typing import Any

from cascade.interfaces.logs import get_logger
from cascade.transport import (
    ConnectorSettings,
    Fault,
    Kind,
    LinkParts,
    NetworkConnector,
    check_settings,
    system_fault,
)
from hub_connector._client import HubClient
from hub_connector._link import HubLink

log = get_logger("cascade.connectors.hub")


class HubConnector(NetworkConnector):
    """A connector to a hub; ``keywords`` are those of ``ConnectorSettings``."""

    def __init__(self, hostname: str, port: int, **keywords: Any) -> None:
        settings = ConnectorSettings(hostname, port, **keywords)
        check_settings(settings, max_window=10_000, window_reason="a hub needs")
        super().__init__(settings, log=log)

    def make_client(self) -> HubClient:
        will = self._presence.begin()
        message = {"topic": will["topic"], "payload": will["payload"], "retain": will.get("retain", False)}
        shown = message if self._settings.presence else None
        return HubClient(self.hostname, self.port, shown, self._dispatcher.delivery)

    def make_link(self, client: HubClient, parts: LinkParts) -> HubLink:
        return HubLink(client, parts, explain=self.explain)

    def explain(self, exc: BaseException | None) -> Fault:
        if exc is None or isinstance(exc, TimeoutError):
            return Fault(Kind.SILENT, "the hub did not answer in time; check host and port")
        return system_fault(str(exc), exc) or Fault(Kind.CLOSED, str(exc), blames=True)
