"""Gates without a broker: what devices send, and when a gate holds, against a model of ten lines."""

import json
import math
import random
from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import hypothesis.strategies as st
import pytest
from control_parts import GateState, NoValue, WindowState, read_value
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cascade.interfaces.gates import Gate, gate

Z2M = b'{"state": "ON", "power": 912.5, "linkquality": 128, "update": {"state": "idle"}}'
TASMOTA = b'{"Time": "2026-01-11T21:57:38", "ENERGY": {"Total": 3.705, "Power": 5, "Voltage": [233, 231]}}'
STATUS8 = (
    b'{"StatusSNS": {"Time": "2026.02.15 01:00:50", "Switch1": "OFF", "DS18B20": {"Temperature": null}}}'
)
SHELLY = b'{"id": 0, "output": true, "apower": 8.9, "temperature": {"tC": 57.6}, "aenergy": {"total": 6.532}}'


@pytest.mark.parametrize(
    ("payload", "path", "found"),
    [
        # https://www.zigbee2mqtt.io/guide/usage/mqtt_topics_and_messages.html
        (Z2M, "power", 912.5),
        (Z2M, "update/state", "sends 'idle', not a number"),
        (Z2M, "w", "sends nothing at w"),
        (b'{"battery": "100.00"}', "battery", 100.0),
        (b'{"occupancy": true}', "occupancy", "sends true, not a number"),
        # https://tasmota.github.io/docs/JSON-Status-Responses/ and https://tasmota.github.io/docs/MQTT/
        (TASMOTA, "ENERGY/Power", 5),
        (TASMOTA, "ENERGY/Voltage/1", 231),
        (TASMOTA, "ENERGY/Voltage/2", "sends nothing at ENERGY/Voltage/2"),
        (TASMOTA, "ENERGY", "sends an object at ENERGY"),
        (STATUS8, "StatusSNS/DS18B20/Temperature", "sends nothing at StatusSNS/DS18B20/Temperature"),
        (STATUS8, "StatusSNS/Switch1", "sends 'OFF', not a number"),
        # https://shelly-api-docs.shelly.cloud/gen2/ComponentsAndServices/Switch/ (and bare numbers of the first generation)
        (SHELLY, "temperature/tC", 57.6),
        (SHELLY, "", "sends an object: name the path of the value"),
        (b"21.50", "", 21.5),
        # https://www.home-assistant.io/integrations/mqtt_statestream/
        (b"21.5", "", 21.5),
        (b'"celsius"', "", "sends 'celsius', not a number"),
        (b"unavailable", "", "sends 'unavailable', not a number"),
        (b"unknown", "", "sends 'unknown', not a number"),
        (b"2026-11-25T10:00:00+00:00", "", "sends '2026-11-25T10:00:00+00:00', not a number"),
        # what else arrives
        (b" -3e2\n", "", -300.0),
        (b"21,5", "", "sends '21,5', not a number"),
        (b"", "", "sends an empty message"),
        (b"null", "", "sends null"),
        (b"NaN", "", "sends 'NaN', not a number"),
        (b"1e999", "", "sends a number that is too large"),
        (b"[1, 2]", "", "sends a list: name the path of the value"),
        (b'{"a/b": {"c~d": 7}}', "a~1b/c~0d", 7),
        (b'{"a": 1', "a", "sends nothing at a"),
        (b"x" * 70_000, "", "sends more than 65536 bytes"),
        (b"\xff\x00\x1b[2J", "", "sends '\ufffd\\u0000\\u001b[2J', not a number"),
    ],
)
def test_a_value_is_read_as_devices_send_it(payload: bytes, path: str, found: float | str) -> None:
    """Objects of zigbee2mqtt, Tasmota and Shelly, and bare states of Home Assistant; all else is unknown, with the reason."""
    value = read_value(payload, gate("g", topic="t", path=path, above=0))
    assert (value.why if isinstance(value, NoValue) else value) == found


@pytest.mark.parametrize(
    ("payload", "path", "word"),
    [
        (b"ON", "", "ON"),
        (b'"ON"', "", "ON"),
        (b"unavailable", "", "unavailable"),
        (b"1", "", "1"),
        (b"1.0", "", "1"),
        (b'{"output": true}', "output", "true"),
        (STATUS8, "StatusSNS/Switch1", "OFF"),
    ],
)
def test_words_are_compared_with_equals(payload: bytes, path: str, word: str) -> None:
    """Also numbers and booleans, as JSON writes them."""
    assert read_value(payload, gate("g", topic="t", path=path, equals="ON")) == word


def garbled(chance: random.Random) -> bytes:
    """Return a payload that no device should send, or half of one that some do."""
    whole = chance.choice([Z2M, TASMOTA, STATUS8, SHELLY, b"21.5", b"[" * 30_000, b"9" * 5_000, b'{"w":'])
    cut = whole[: chance.randrange(len(whole) + 1)]
    noise = chance.randbytes(chance.randrange(12))
    at = chance.randrange(len(cut) + 1)
    return chance.choice([noise, cut, cut[:at] + noise + cut[at:], json.dumps({"w": noise.hex()}).encode()])


@pytest.mark.parametrize("count", [2_000, pytest.param(100_000, marks=pytest.mark.nightly)])
def test_no_payload_confuses_a_gate(count: int, seeded_random: random.Random) -> None:
    """Row 59: whatever arrives is a finite number, a word or unknown; the gate holds unless it is a number in band."""
    gates = [
        gate("a", topic="t", above=10),
        gate("b", topic="t", path="w", below=10),
        gate("c", topic="t", equals="x"),
    ]
    states = [GateState(each, 0.0) for each in gates]
    for now in range(count):
        payload = garbled(seeded_random)
        for state in states:
            value = read_value(payload, state.gate)
            state.receive(value, float(now))
            reading = state.reading()
            assert not isinstance(value, float) or math.isfinite(value)
            assert reading.holds is (reading.state != "open")
            assert (reading.state == "unknown") is isinstance(value, NoValue)
            assert reading.text.isprintable()
            assert len(reading.text) < 400
            assert not isinstance(reading.value, str) or len(reading.value) <= 32
            json.dumps(reading, allow_nan=False)


class Gates(RuleBasedStateMachine):
    """A gate holds exactly when the model says so, whatever arrives and however late it is looked at."""

    @initialize(
        settle=st.sampled_from([0, 1, 3]),
        stale=st.sampled_from([None, 2, 5]),
        clear_at=st.sampled_from([None, 6]),
        on_stale=st.sampled_from(["hold", "pass"]),
    )
    def begin(self, settle: int, stale: int | None, clear_at: int | None, on_stale: str) -> None:
        """Anything that a register can say."""
        params = {"topic": "t", "above": 8, "clear_at": clear_at, "settle_s": settle, "stale_s": stale}
        self.gate = Gate.from_params("g", {**params, "on_stale": on_stale})
        self.state = GateState(self.gate, 0.0)
        self.now = 0
        self.arrived: list[tuple[int, int | None, bool]] = []

    @rule(value=st.sampled_from([None, 5, 6, 7, 8, 9]), retained=st.booleans())
    def arrive(self, value: int | None, retained: bool) -> None:
        """A value, or one that cannot be read."""
        self.arrived.append((self.now, value, retained))
        self.state.receive(NoValue("is odd") if value is None else value, float(self.now), retained=retained)

    @rule(seconds=st.integers(1, 7), look=st.booleans())
    def wait(self, seconds: int, look: bool) -> None:
        """Time passes; the engine may be late."""
        self.now += seconds
        if look:
            self.state.look(float(self.now))

    def model(self) -> list[bool]:
        """Return for each second, as its values arrive, whether the gate holds."""
        known, heard, good_for, holds, found = None, 0, 0, self.gate.on_stale == "hold", []
        for second in range(self.now + 1):
            if known is not None and self.gate.stale and second - heard >= self.gate.stale:
                known, good_for = None, max(good_for, 1) if self.gate.on_stale == "pass" else 0
                holds = holds or self.gate.on_stale == "hold"
            holds = holds and not (good_for and good_for > self.gate.settle)
            for value, retained in [each[1:] for each in self.arrived if each[0] == second]:
                if retained and self.gate.stale and value is not None and value <= 8:
                    continue
                known, heard = value, second
                good = self.good(known, holds)
                good_for = max(good_for, 1) if good else 0
                holds = not good or (holds and good_for <= self.gate.settle)
            good_for += bool(good_for)
            found.append(holds)
        return found

    def good(self, value: int | None, holds: bool) -> bool:
        """Return whether a value lets work go on."""
        if value is None:
            return self.gate.on_stale == "pass"
        return value <= (self.gate.clear_at if holds and self.gate.clear_at is not None else 8)

    @invariant()
    def it_holds_when_the_model_does(self) -> None:
        """G1, G5: unknown holds unless it passes; a retained value opens nothing if ``stale`` is set."""
        if not hasattr(self, "state"):
            return
        self.state.look(float(self.now))
        held = self.model()
        assert self.state.holds is held[-1]
        reading = self.state.reading()
        assert reading.state != "unknown" or reading.holds is held[-1]
        assert (self.state.due() or math.inf) > self.now

    def teardown(self) -> None:
        """G2: between two openings lies the settle time."""
        if hasattr(self, "state"):
            held = self.model()
            opened = [at for at, (before, after) in enumerate(pairwise(held)) if before and not after]
            assert all(later - earlier > self.gate.settle for earlier, later in pairwise(opened))


TestGates = Gates.TestCase
TestGates.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


@pytest.mark.parametrize(
    ("window", "at", "opens"),
    [
        ("22:00-06:00 Europe/Berlin", "2026-11-25T21:59", False),
        ("22:00-06:00 Europe/Berlin", "2026-11-25T22:00", True),
        ("22:00-06:00 Europe/Berlin", "2026-11-26T05:59", True),
        ("22:00-06:00 Europe/Berlin", "2026-11-26T06:00", False),
        ("08:00-24:00 Europe/Berlin", "2026-11-25T23:59", True),
        ("08:00-24:00 Europe/Berlin", "2026-11-25T00:00", False),
        ("02:00-03:00 Europe/Berlin", "2026-10-25T02:30", True),
        ("08:00-20:00 Europe/Berlin", "2024-11-25T12:00", False),
    ],
)
def test_a_window_opens_by_the_clock_of_the_box(window: str, at: str, opens: bool) -> None:
    """In its own zone, over midnight; a clock that is not set opens nothing."""
    parsed = gate("night", window=window).window
    assert parsed is not None
    state = WindowState(parsed)
    wall = datetime.fromisoformat(at).replace(tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
    reading = state.reading(wall)
    assert reading.holds is not opens
    assert reading.state == ("open" if opens else "unknown" if at < "2026" else "closed")
    assert 0 < state.next_look(wall) <= 60


def words(state: GateState) -> str:
    return state.reading().text


def test_the_reason_is_a_sentence() -> None:
    """Of a closed, a settling, an open and an unknown gate."""
    state = GateState(
        gate("p", topic="site/power", path="w", above=800, clear_at=700, settle=60, stale=600), 0.0
    )
    assert words(state) == "site/power has sent nothing yet"
    state.receive(650.0, 0.0, retained=True)
    assert "age of its retained value is not known" in words(state)
    state.receive(900.0, 1.0, retained=True)
    assert words(state) == "site/power is 900 w, must stay below 700"
    state.receive(650.5, 2.0)
    assert words(state) == "site/power is 650.5 w, must stay below 700 for 60 s"
    state.look(62.0)
    assert words(state) == "site/power is 650.5 w"
    state.look(602.0)
    assert words(state) == "site/power has sent nothing for 10 min"
    assert state.holds
    others = [{"inside": (1, 2)}, {"outside": (1, 2)}, {"equals": "OFF"}, {"below": 3.5}]
    assert [gate("g", topic="t", **each).must_be for each in others] == [  # type: ignore[arg-type]
        "must stay outside 1 to 2", "must stay within 1 to 2", "must not be OFF", "must stay above 3.5",
    ]  # fmt: skip
