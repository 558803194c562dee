"""Every example of the package's pages, in a real terminal against a real broker."""

from pathlib import Path

import pytest

from cascade.cli.main import EXTRAS
from testing_tools.engines import Plant, eventually
from testing_tools.page_examples import check_example, examples

DOCS = Path(__file__).parents[1] / "docs"
PAGES = {page.stem: list(examples(page.read_text("utf-8"))) for page in DOCS.glob("*.md")}


@pytest.mark.broker
@pytest.mark.full
@pytest.mark.process
@pytest.mark.timeout(180)
def test_every_example_prints_what_its_page_shows(plant: Plant) -> None:
    """After an engine whose run was cancelled; Home Assistant gets the next one of its name."""
    plant.start("press-line-3", run_id="night-7", tasks=20_000)  # it must not end before it is cancelled
    plant.wait_for_runs("press-line-3")
    assert plant.cascade("cancel", "run:night-7", "--wait").returncode == 0
    eventually(lambda: "ended" in str(plant.json("ps")), "the engine has ended")
    for page in sorted(PAGES, key=lambda page: page == "home-assistant"):
        if page == "home-assistant":
            plant.start("press-line-3", run_id="night-8", tasks=20_000)
            plant.wait_for_runs("press-line-3")
        for command, lines in PAGES[page]:
            check_example(command, lines, plant)


def test_every_command_has_an_example() -> None:
    """collect, which prints nothing until it is ended, has its own tests."""
    shown = {command.split()[1] for page in PAGES.values() for command, _ in page}
    assert shown == EXTRAS["ops"][1].keys() - {"collect"}
