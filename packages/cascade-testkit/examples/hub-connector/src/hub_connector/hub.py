"""The network: a hub on a TCP port, which speaks JSON objects, one in a line. A program of its own."""

import asyncio
import json
from typing import Any

from cascade.interfaces.topics import matches


class Hub:
    """Passes messages on to those who have subscribed, and keeps each topic's retained message."""

    def __init__(self) -> None:
        self.port = 0
        self._server: asyncio.Server | None = None
        self._retained: dict[str, str] = {}
        self._clients: dict[asyncio.StreamWriter, dict[int, str]] = {}

    async def __aenter__(self) -> "Hub":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**20)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._clients:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        will: dict[str, Any] | None = None
        filters = self._clients[writer] = {}
        try:
            async for line in reader:
                request = json.loads(line)
                if request["op"] == "hello":
                    will = request["will"]
                elif request["op"] == "subscribe":
                    self._subscribe(writer, filters, request)
                elif request["op"] == "unsubscribe":
                    filters.pop(request["id"], None)
                elif request["op"] == "publish":
                    self._publish(**request["message"])
                elif request["op"] == "bye":
                    will = None
                self._send(writer, {"op": "done", "n": request["n"]})
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            del self._clients[writer]
            writer.transport.abort()
            if will is not None:
                self._publish(**will)

    def _subscribe(
        self, writer: asyncio.StreamWriter, filters: dict[int, str], request: dict[str, Any]
    ) -> None:
        filters[request["id"]] = request["filter"]
        for topic, payload in [*self._retained.items()]:
            if matches(request["filter"], topic):
                self._send_message(writer, [request["id"]], topic, payload, retain=True)

    def _publish(self, topic: str, payload: str, retain: bool) -> None:
        if retain and payload:
            self._retained[topic] = payload
        elif retain:
            self._retained.pop(topic, None)
        for writer, filters in self._clients.items():
            numbers = [number for number, topic_filter in filters.items() if matches(topic_filter, topic)]
            if numbers:
                self._send_message(writer, numbers, topic, payload, retain=False)

    def _send_message(
        self, writer: asyncio.StreamWriter, numbers: list[int], topic: str, payload: str, *, retain: bool
    ) -> None:
        message = {"topic": topic, "payload": payload, "retain": retain}
        self._send(writer, {"op": "message", "ids": numbers, "message": message})

    @staticmethod
    def _send(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> None:
        writer.write(json.dumps(answer).encode() + b"\n")
