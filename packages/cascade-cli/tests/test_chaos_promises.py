"""The promises of the commands in random scenes, on brokers of every kind: no command says more than the engines' own files show."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from cascade.testkit import Broker, Mosquitto, NatsServer
from testing_tools.aedes import Aedes
from testing_tools.rabbitmq import RabbitMq
from testing_tools.scenes import Scenes, seed_of_scenes

pytestmark = [pytest.mark.broker, pytest.mark.process, pytest.mark.nightly, pytest.mark.timeout(3600)]

KINDS: dict[str, tuple[type[Broker], str]] = {
    "mosquitto": (Mosquitto, "url"),
    "nats-server over MQTT": (NatsServer, "url"),
    "nats-server": (NatsServer, "nats_url"),
    "rabbitmq": (RabbitMq, "url"),
    "aedes": (Aedes, "url"),
}
SCENES = 200


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest) -> Iterator[tuple[Broker, str]]:
    """A broker, and the URL by which engines and commands reach it."""
    kind, url = KINDS[request.param]
    if kind.find() is None:
        pytest.skip(f"{kind.name} is not installed: {kind.remedy()}")
    with kind() as broker:
        yield broker, getattr(broker, url)


def test_no_command_says_more_than_it_saw(place: tuple[Broker, str], tmp_path: Path) -> None:
    """Kills, frozen engines, two processes of one name, restarts of the broker, and clocks an hour apart."""
    broker, url = place
    seed = seed_of_scenes()
    print(f"seed {seed}")
    with Scenes(broker, url, tmp_path, Random(seed)) as scenes:
        for _ in range(SCENES):
            scenes.play()
        print(f"{scenes.claims} claims, {scenes.named_limits} limits named")
    assert [str(lie) for lie in scenes.lies] == []
    assert scenes.claims > SCENES
