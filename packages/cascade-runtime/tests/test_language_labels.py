"""Which item failed: notes and names in this program show arguments, and nothing that leaves it does."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from observers import watch
from simple_tasks import give

from cascade.interfaces import ConfigurationError
from cascade.interfaces.tracebacks import show_arguments
from cascade.runtime import Engine, LocalConnector, LocalHub
from cascade.spec import filled, short, task
from cascade.testkit import eventually


@task
async def parse(path: str, settings: Any = None) -> Any:
    if "bad" in path:
        raise ValueError("cannot parse")
    task_itself = asyncio.current_task()
    assert task_itself is not None
    return task_itself.get_name()


async def note_of(call: Any) -> str:
    with show_arguments(), pytest.raises(ValueError, match="cannot parse") as raised:
        await Engine().run(call, run_id="night")
    (note,) = raised.value.__notes__
    return str(note)


async def test_a_note_is_short_and_keeps_secrets() -> None:
    """A long value is cut, a secret is masked, and an argument that cannot be shown does no harm."""

    class Silent:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    assert len(await note_of(parse("bad" * 10_000, ["x" * 10_000] * 100))) < 300
    assert "S3cr3t" not in await note_of(parse("bad", {"password": "S3cr3t"}))
    assert "settings=<" in await note_of(parse("bad", Silent()))


async def test_a_label_names_items_in_this_program() -> None:
    """It is filled with the arguments for the note and the asyncio task, for each item of a map, too."""
    assert await note_of(parse("bad").named("parse {path}")) == (
        "in task 'parse' (parse:0, 'parse bad') of run night, called with path='bad'"
    )
    mapped = parse.map(path=give(["a", "b"])).named("parse {path!s:>3}")
    assert await Engine().run(mapped) == ["parse   a", "parse   b"]
    assert await Engine().run(parse(give("a"), [give(1)]).named("{settings} {path}")) == "[1] a"


async def test_values_never_reach_the_wire() -> None:
    """Neither the label nor the note is in any event or message."""
    hub = LocalHub()
    published: list[str] = []
    connector = LocalConnector(hub)

    async def keep(topic: str, payload: dict[str, Any]) -> None:
        published.append(f"{topic} {payload}")

    async with connector, LocalConnector(hub) as listener:
        await listener.subscribe("#", keep)
        engine = Engine(connector=connector)
        events = watch(engine)
        with pytest.raises(ExceptionGroup):
            await engine.run(
                parse.map(path=["s3cret", "bad s3cret"]).named("parse {path}"), on_failure="continue"
            )
        await eventually(lambda: any("ENGINE_STOPPED" in each for each in published))
    assert "s3cret" not in f"{published}{events}"
    assert {event.task_name for event in events if hasattr(event, "task_name")} == {"parse"}


def test_a_label_has_parameters_only() -> None:
    """Another field is refused where the label is given; braces of any other kind are a part of a plain name."""
    with pytest.raises(
        ConfigurationError, match=r"\{pth\} is not a parameter of the task, which has path, settings"
    ):
        parse("a").named("parse {pth}")
    assert repr(parse("a").named("a } b")) == "<LazyResult a } b('a')>"
    assert repr(parse("a").named("parse {path}")) == "<LazyResult parse('a')>"


@dataclass
class Many:
    a: Any
    b: int = 2
    c: int = 3
    d: int = 4


def test_short_forms() -> None:
    """A missing argument or a format that does not fit leaves the template; values are cut, also inside."""
    assert filled("{x} {y}", {"x": 1}) == "{x} {y}"
    assert filled("{x:5d}", {"x": "text"}) == "{x:5d}"
    assert len(filled("{x}", {"x": "y" * 1000})) == 120
    assert short(Many([1] * 100)) == "Many(a=[1, 1, 1, 1, 1, 1, ...], b=2, c=3, ...)"
    assert short(Many(1)) == "Many(a=1, b=2, c=3, ...)"
    assert short("a\nb") == r"'a\nb'"
    assert len(short(list(range(1000)))) <= 60
