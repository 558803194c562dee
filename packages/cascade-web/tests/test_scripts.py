"""The parts of the page: its MQTT codec, its topics and registers, its words and its layout of graphs."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
import pytest_asyncio
from browsing import Tab
from playwright.async_api import Browser, Page

from cascade.interfaces.control_messages import constraint_message
from cascade.interfaces.topics import constraint_topic, encode_level, parse_constraint_topic
from cascade.web import page
from cascade.wire import shortened
from testing_tools.golden_graphs import crossings, golden_graphs, order_of

pytestmark = [pytest.mark.process, pytest.mark.asyncio(loop_scope="session")]

HEX = "const hex = (bytes) => [...bytes].map((each) => each.toString(16).padStart(2, '0')).join('');"
NAMES = (
    "press-3", "line 3/press+", "100%+", "$SYS", "@a", "grün", "a\x00b\x85", "\ufdd0\uffff\U0001fffe", "😀", "resize*", "%41", "a:b",
)  # fmt: skip


@pytest_asyncio.fixture(loop_scope="session")
async def scripts(browser: Browser) -> AsyncIterator[Page]:
    """The page, without a broker."""
    tab = await Tab.of(browser)
    await tab.load(page())
    yield tab.page
    assert tab.complaints == []
    await tab.close()


@pytest.mark.full
async def test_packets_have_the_bytes_of_the_standard(scripts: Page) -> None:
    """Each byte is written out by hand from MQTT 5.0 and 3.1.1, section 3."""
    found = await scripts.evaluate(f"""() => {{ {HEX} return [
        mqtt.connect({{version: 5, clientId: "w", keepalive: 180}}),
        mqtt.connect({{version: 4, clientId: "w", keepalive: 180, username: "u", password: "ä"}}),
        mqtt.subscribe(5, 258, ["a/#", "b"]), mqtt.unsubscribe(4, 1, ["b"]),
        mqtt.publish(5, {{topic: "t", payload: "x", qos: 1, retain: true, id: 7, expiry: 65537}}),
        mqtt.publish(4, {{topic: "t", payload: "x", qos: 1, retain: true, id: 7, expiry: 65537}}),
        mqtt.publish(4, {{topic: "t", payload: ""}}), mqtt.ping(),
    ].map(hex) }}""")
    assert found == [
        "100e" + "00044d515454" + "05" + "02" + "00b4" + "00" + "000177",
        "1014" + "00044d515454" + "04" + "c2" + "00b4" + "000177" + "000175" + "0002c3a4",
        "820d" + "0102" + "00" + "0003612f23" + "00" + "000162" + "00",
        "a205" + "0001" + "000162",
        "330c" + "000174" + "0007" + "05" + "0200010001" + "78",
        "3306" + "000174" + "0007" + "78",
        "3003" + "000174",
        "c000",
    ]


@pytest.mark.full
async def test_packets_are_read_however_the_bytes_are_cut(scripts: Page) -> None:
    """A WebSocket message may hold a part of a packet, or several."""
    stream = [
        "20020001",  # CONNACK of a broker that knows 3.1.1 only
        "2009008706" + "1f0003626164",  # CONNACK: not authorized, reason "bad"
        "90050102000087",  # SUBACK: one filter granted, one refused
        "40020007",
        "4003000787",
        "310800017402" + "0101" + "7879",  # PUBLISH, retained, with a property
        "d000",
        "e0018b",
    ]
    broken = ["f000", "30ffffffff7f", "3002ffff", "3106000174020505", "30848080027465"]
    whole, single, refused = await scripts.evaluate(
        """([stream, broken]) => {
            const bytes = (hex) => Uint8Array.from(hex.match(/../g), (each) => parseInt(each, 16));
            const plain = (packet) => packet.payload ? {...packet, payload: [...packet.payload]} : packet;
            const all = bytes(stream.join("")), one = new mqtt.Packets(5), other = new mqtt.Packets(5);
            const refused = broken.map((each) => { try { new mqtt.Packets(5).push(bytes(each)); return ""; } catch (error) { return error.name; } });
            return [one.push(all).map(plain), [...all].flatMap((each) => other.push(Uint8Array.of(each)).map(plain)), refused];
        }""",
        [stream, broken],
    )
    assert single == whole == [
        {"type": "connack", "code": 1, "reason": ""},
        {"type": "connack", "code": 0x87, "reason": "bad"},
        {"type": "suback", "id": 258, "codes": [0, 0x87], "reason": ""},
        {"type": "puback", "id": 7, "codes": [], "reason": ""},
        {"type": "puback", "id": 7, "codes": [0x87], "reason": ""},
        {"type": "publish", "topic": "t", "qos": 0, "id": 0, "retained": True, "payload": [120, 121]},
        {"type": "pingresp"},
        {"type": "disconnect", "code": 0x8B},
    ]  # fmt: skip
    assert refused == ["RangeError"] * len(broken)


@pytest.mark.full
async def test_registers_are_those_of_the_command(scripts: Page) -> None:
    """Topic and content are what `cascade pause` writes, for any name."""
    scopes = [
        "global",
        *(f"{kind}:{name}" for kind in ("source", "task", "run", "project") for name in NAMES),
    ]
    found = await scripts.evaluate(
        """([scopes, names]) => [
            scopes.map((scope) => steering.setting(scope, "rate_limit", {params: {rate: "10/m"}, seconds: 60.5, now: 1795230045, by: "anna"})),
            names.map(fields.encodeLevel), scopes.map((scope) => fields.constraintTopic(fields.registerTopic(scope, "pause")))]""",
        [scopes, NAMES],
    )
    written, levels, parsed = found
    assert levels == [encode_level(name) for name in NAMES]
    for scope, change, read_back in zip(scopes, written, parsed, strict=True):
        message = constraint_message(scope, "rate_limit", {"rate": "10/m"}, expires_at=1795230105.5)
        assert change["message"] == {**message, "by": "anna"}
        assert change["topic"] == constraint_topic(scope, "rate_limit")
        assert tuple(read_back) == parse_constraint_topic(constraint_topic(scope, "pause"))


def engine(
    source: str, *, answer: dict[str, Any] | None, effective: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return the birth and the report of an engine, as messages."""
    topic = "cascade/constraints/global/@concurrency"
    report = {
        "v": "1.0", "source": source, "session": "r", "presence": "s", "sync": "synced",
        "applied": {} if answer is None else {topic: answer}, "effective": effective,
    }  # fmt: skip
    return [
        {"topic": f"cascade/status/{source}", "payload": json.dumps({"status": "online", "session": "s"})},
        {"topic": f"cascade/state/{source}/constraints", "payload": json.dumps(report)},
    ]


async def test_compliance_counts_only_reports_on_what_the_register_holds_now(scripts: Page) -> None:
    """An engine that reports an older content under the same id has not answered; in time it is silent."""
    row = {
        "topic": "cascade/constraints/global/@concurrency",
        "scope": "global",
        "type": "concurrency",
        "expires_at": None,
    }
    answer = {"id": "concurrency-global", "status": "applied"}
    messages = [
        *engine("press-1", answer=answer, effective=[{**row, "params": {"limit": 3}}]),
        *engine("press-2", answer=answer, effective=[{**row, "params": {"limit": 9}}]),
        *engine("press-3", answer={"id": "", "status": "rejected", "reason": "no"}, effective=[]),
        *engine("press-4", answer=None, effective=[]),
    ]
    found = await scripts.evaluate(
        """(messages) => {
            const view = new views.View();
            for (const {topic, payload} of messages) view.fold(topic, fields.asBytes(payload), {now: 0, retained: true});
            const change = steering.setting("global", "concurrency", {params: {limit: 3}, now: 0});
            return [1, 60].map((now) => steering.inWords(steering.compliance(view, {...change.message, topic: change.topic}, {now, since: 0})));
        }""",
        messages,
    )
    assert found == [
        "applied by 1 of 4, press-3 refuses it, press-2 and press-4 have not answered yet",
        "applied by 1 of 4, press-3 refuses it, press-2 and press-4 are silent",
    ]


@pytest.mark.full
async def test_nodes_of_a_graph_do_not_overlap_and_edges_lead_to_the_right(
    scripts: Page, seeded_random: random.Random
) -> None:
    """Also where a hostile report has cycles: those edges lead back."""
    graphs = []
    for size in range(40):
        pairs = [(seeded_random.randrange(size), seeded_random.randrange(size)) for _ in range(2 * size)]
        graphs.append((size, sorted({(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]})))
    cycle = (3, [(0, 1), (1, 2), (2, 0)])
    placed = await scripts.evaluate(
        "(graphs) => graphs.map(([size, edges]) => layout.place(size, edges, {width: 10, height: 6, gapX: 4, gapY: 2, margin: 1}))",
        [*graphs, cycle],
    )
    for (_, edges), found in zip(graphs, placed, strict=False):
        columns: dict[float, list[float]] = {}
        for node in found["at"]:
            columns.setdefault(node["x"], []).append(node["y"])
            assert 5 <= node["x"] <= found["width"] - 5
            assert 3 <= node["y"] <= found["height"] - 3
        assert all(b - a > 7.99 for column in columns.values() for a, b in pairwise(sorted(column)))
        assert all(found["at"][a]["x"] < found["at"][b]["x"] for a, b in edges)
    assert len(placed[-1]["at"]) == 3


async def test_layers_have_the_order_of_the_golden_graphs(scripts: Page) -> None:
    """`cs.visualize` orders the same graphs in the same way: test_pictures.py of cascade-py."""
    graphs = golden_graphs()
    placed = await scripts.evaluate(
        """(graphs) => graphs.map(({nodes, edges}) => layout.place(nodes, edges, {width: 10, height: 6, gapX: 4, gapY: 2, margin: 1}))""",
        [golden._asdict() for golden in graphs],
    )
    for golden, found in zip(graphs, placed, strict=True):
        assert order_of([(node["y"], node["x"]) for node in found["at"]]) == golden.layers
        # a path has two points in each layer that it passes
        paths = [[(point["y"], point["x"]) for point in path] for path in found["paths"]]
        between = [path[at : at + 2] for path in paths for at in range(0, len(path), 2)]
        assert crossings(between) == golden.crossings


async def test_ids_of_runs_are_shortened_as_in_python(scripts: Page, seeded_random: random.Random) -> None:
    """No two look alike, and what differs is shown: runs of two nights differ at the end only."""
    parts = ["night-", "audit-of-line-", "2026-11-24", "2026-11-25", "9a81f00b2c3d4e5f", "😀", "é", "a", "b"]
    cases = [
        ["".join(seeded_random.choices(parts, k=seeded_random.randrange(1, 7))) for _ in range(20)]
        for _ in range(100)
    ]
    cases.append(["night-audit-2026-11-24", "night-audit-2026-11-25", "night-2026-11-24", "night-2026-11-25"])
    cases.append(["nightly~2026-11-25T03:00:00Z", "9a81f00b2c3d4e5f9a81f00b2c3d4e5f"])
    found = await scripts.evaluate(
        "(cases) => cases.map((ids) => Object.fromEntries(words.shortened(ids)))", cases
    )
    assert found == [shortened(each) for each in cases]
    for short in found:
        assert len({*short.values()}) == len(short)
    assert [*found[-1].values()] == ["nightly~…03:00:00Z", "9a81f00b"]
    assert [*found[-2].values()] == [
        "night-au…026-11-24",
        "night-au…026-11-25",
        "night-2026-11-24",
        "night-2026-11-25",
    ]


async def test_an_address_that_a_browser_cannot_use_is_refused_with_what_to_do(scripts: Page) -> None:
    """A browser itself reports nothing that helps."""
    cases = [
        ["ws://broker:9001", "http:"], ["ws://broker:9001", "https:"], ["ws://localhost:9001", "https:"],
        ["wss://broker", "https:"], ["mqtt://broker", "file:"], ["http://broker", "file:"], ["broker", "file:"],
    ]  # fmt: skip
    found = await scripts.evaluate("(cases) => cases.map((each) => words.addressProblem(...each))", cases)
    begins = ["", "This page came over https", "", "", "A browser cannot use mqtt://", "An address begins with ws://", "“broker” is not an address"]  # fmt: skip
    assert [each[: len(begin)] for each, begin in zip(found, begins, strict=True)] == begins
    assert [bool(each) for each in found] == [bool(begin) for begin in begins]


async def test_a_failed_task_is_seen_on_the_timeline_whatever_overlaps_it(scripts: Page) -> None:
    """A lane has a few places, and more tasks run at once: those that end later cover none of its pixels."""
    found = await scripts.evaluate("""() => {
        const failed = {name: "weld", start: 0, end: 10, depth: 0, state: "FAILED"};
        const others = Array.from({length: 40}, (_, depth) => ({name: "weld", start: 1, end: 9, depth, state: "COMPLETED"}));
        const canvas = document.createElement("canvas"), probe = document.createElement("canvas").getContext("2d");
        canvas.style.width = "600px";
        document.body.append(canvas);
        probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--bad").trim();
        probe.fillRect(0, 0, 1, 1);
        const bad = probe.getImageData(0, 0, 1, 1).data.join();
        const red = (ended) => {
            timelines.draw(canvas, {ended, open: new Map(), lanes: new Map()}, {now: 10, over: true, running: [], isCut: false});
            const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            return Array.from({length: data.length / 4}, (_, at) => data.slice(at * 4, at * 4 + 4).join()).filter((each) => each === bad).length;
        };
        return [red([failed]), red([failed, ...others]), red(others)]; }""")
    alone, covered, none = found
    assert alone > 100
    assert covered == alone
    assert none == 0
