"""MqttConnector passes the suite that every connector must pass, on real brokers.

Its connectors reach the broker through a proxy, which breaks their links; the witnesses do not.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar

import aiomqtt
import pytest
import pytest_asyncio

from cascade.connectors.mqtt import MqttConnector
from cascade.interfaces import Connector
from cascade.testkit import Broker
from cascade.testkit.connector import Ability, Answers, Completing, ConnectorContract, ThroughProxy
from testing_tools.aedes import Aedes
from testing_tools.iotcore import IotCore
from testing_tools.odd_broker import OddBroker
from testing_tools.rabbitmq import RabbitMq
from testing_tools.requesting import Requester

pytestmark = [
    pytest.mark.broker,
    pytest.mark.usefixtures("patient"),
    pytest.mark.wrong_messages(
        "requests that no engine would obey", "cascade/requests/#", "cascade/telemetry/contract/#"
    ),
]


class OnBroker(ThroughProxy, ConnectorContract):
    """With MQTT 3.1.1, which does not transmit where a request expects its answer."""

    abilities = frozenset(Ability) - {Ability.REQUESTS, Ability.TRACES, Ability.KEEP}
    keywords: ClassVar[dict[str, Any]] = {}

    async def make(self) -> Connector:
        return MqttConnector(self.proxy.host, self.proxy.port, **self.hasty, **self.keywords)

    async def make_witness(self) -> Connector:
        return MqttConnector(self.broker.host, self.broker.port, presence=False, **self.keywords)

    async def make_named(self, source_id: str) -> Connector:
        return MqttConnector(self.proxy.host, self.proxy.port, source_id=source_id, **self.keywords)

    async def send_bytes(self, topic: str, payload: bytes) -> None:
        async with aiomqtt.Client(self.broker.host, self.broker.port) as client:
            await client.publish(topic, payload, qos=1)

    @pytest.fixture
    def peer_port(self, shared: Broker) -> int:
        self.broker = shared
        return shared.port


class TestOnMosquitto(OnBroker):
    abilities = OnBroker.abilities | {Ability.KEEP}

    @pytest.fixture
    def shared(self, mosquitto: Broker) -> Broker:
        return mosquitto


class TestOnMosquittoWithMqtt5(TestOnMosquitto):
    abilities = frozenset(Ability)
    keywords: ClassVar[dict[str, Any]] = {"protocol": aiomqtt.ProtocolVersion.V5}

    async def ask(self, topic: str, payload: bytes, *, traceparent: str = "") -> Answers:
        return await self.requester.ask(topic, payload, traceparent=traceparent)

    @pytest_asyncio.fixture(autouse=True)
    async def requester_ends(self, shared: Broker) -> AsyncIterator[None]:
        async with Requester(shared.host, shared.port) as self.requester:
            yield


class OnOddBroker(OnBroker):
    """An MQTT 3.1.1 broker in this process, with the weaknesses that ``switches`` names."""

    switches: ClassVar[dict[str, Any]] = {}

    @pytest.fixture
    def shared(self) -> Iterator[OddBroker]:
        with OddBroker(**self.switches) as broker:
            yield broker


class TestOnOddBroker(OnOddBroker):
    """Without a weakness it is a correct broker."""


class Beyond:
    """Skips the tests that ask more than a broker can do; ``beyond`` states why."""

    beyond: ClassVar[dict[str, str]] = {}

    @pytest.fixture(autouse=True)
    def beyond_this_broker(self, request: pytest.FixtureRequest) -> None:
        name = request.node.name
        reason = next((why for test, why in self.beyond.items() if name.startswith(test)), None)
        if reason is not None:
            request.node.add_marker(pytest.mark.xfail(reason=reason, strict=True))


class RetainedSetOn(Beyond, ThroughProxy, Completing):
    """The section of the retained set, on a broker whose weakness concerns nothing else."""

    abilities = OnBroker.abilities
    make, make_witness, make_named = OnBroker.make, OnBroker.make_witness, OnBroker.make_named
    peer_port = OnBroker.peer_port
    keywords = OnBroker.keywords
    switches: ClassVar[dict[str, Any]] = {}
    shared = OnOddBroker.shared

    @pytest.fixture(autouse=True)
    def no_echo_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each check must end by what arrives, not by its time limit."""
        monkeypatch.setattr("cascade.transport.retained_proof.retained_set.ECHO_LIMIT", 3_600.0)


@pytest.mark.full
class TestRetainedSetWithheldForWildcards(RetainedSetOn):
    """Row 36: as RabbitMQ does it: exact topics are certain, and nothing that was known is lost."""

    switches: ClassVar[dict[str, Any]] = {"retained_for_wildcards": False}
    beyond: ClassVar[dict[str, str]] = {
        "test_complete_comes_behind_the_whole_retained_set": "it sends nothing for the wildcard"
    }


class TestRetainedSetBehindTheEcho(RetainedSetOn):
    """Row 36: as aedes does it: the canary of a named connector, or a second echo, comes behind the set."""

    switches: ClassVar[dict[str, Any]] = {"retained_order": "late"}


@pytest.mark.full
class TestRetainedSetThatIsCut(RetainedSetOn):
    """Row 36: as ejabberd does it with more than a thousand: the first in the order of the filters are certain."""

    switches: ClassVar[dict[str, Any]] = {"retained_limit": 8}
    beyond: ClassVar[dict[str, str]] = {
        "test_complete_comes_behind_the_whole_retained_set": "it does not send more than eight messages"
    }


class TestOnNats(OnBroker):
    @pytest.fixture
    def shared(self, nats_server: Broker) -> Broker:
        return nats_server


@pytest.fixture(scope="module")
def iotcore() -> Iterator[Broker]:
    """A running rumqttd; it comes with the session nightly."""
    with IotCore() as own:
        yield own


@pytest.mark.nightly
class TestOnIotCore(OnBroker):
    """Four tests ask more than this broker can: it is good for telemetry and no broker for control."""

    beyond: ClassVar[dict[str, str]] = {
        "test_a_watch_yields_linked_then_bytes_in_order": "it keeps the order of each topic, not of several",
        "test_a_further_subscription_gets_the_retained_messages_too": "only the first SUBSCRIBE gets them",
        "test_a_leading_wildcard_does_not_match_dollar_topics": "it hangs up on a subscription to one",
        "test_an_undecodable_payload_is_passed_over": "it takes packets of up to 20 kB",
    }

    @pytest.fixture(autouse=True)
    def beyond_this_broker(self, request: pytest.FixtureRequest) -> None:
        reason = self.beyond.get(request.node.originalname)
        if reason is not None:
            request.node.add_marker(pytest.mark.xfail(reason=f"rumqttd: {reason}", strict=False))

    @pytest.fixture
    def shared(self, iotcore: Broker) -> Broker:
        return iotcore


@pytest.fixture(scope="module", params=[Aedes, RabbitMq], ids=lambda kind: kind.name)
def further_broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """A running broker that is not part of every test run."""
    kind: type[Broker] = request.param
    if kind.find() is None:
        pytest.skip(f"{kind.name} is not installed: {kind.remedy()}")
    with kind() as own:
        yield own


@pytest.mark.nightly
class TestRetainedSetOnFurtherBrokers(RetainedSetOn):
    """The real ones of which the switches of :class:`OddBroker` are copies."""

    beyond: ClassVar[dict[str, str]] = {
        "test_complete_comes_behind_the_whole_retained_set[rabbitmq": "it sends nothing for a wildcard"
    }

    @pytest.fixture
    def shared(self, further_broker: Broker) -> Broker:
        return further_broker
