"""The page is one file that loads nothing, and a browser runs only the scripts that are in it."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from importlib.resources import files

import pytest
from served_page import script_names, squeezed, squeezed_style

from cascade.web import page

PARTS = files("cascade.web") / "_page"


def test_every_script_and_the_style_are_in_the_page_with_their_hashes() -> None:
    """A browser runs what the policy names; a script that is not listed would never run."""
    text = page()
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', text)
    for element in ("script", "style"):
        inside = re.findall(f"<{element}>(.*?)</{element}>", text, re.DOTALL)
        digests = [base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in inside]
        (allowed,) = re.findall(f"{element}-src ([^;]*)", policy)
        assert allowed == " ".join(f"'sha256-{digest}'" for digest in digests)
    names = script_names((PARTS / "scripts.txt").read_text("utf-8"))
    assert sorted(names) == sorted(each.name for each in PARTS.iterdir() if each.name.endswith(".js"))


@pytest.mark.parametrize("marker", ["policy", "broker", "style", "scripts"])
def test_the_template_has_each_marker_once(marker: str) -> None:
    """A lost marker would lose that part of the page."""
    assert (PARTS / "page.html").read_text("utf-8").count(f"<!-- {marker} -->") == 1
    assert f"<!-- {marker} -->" not in page()


class Loads(HTMLParser):
    """Collects what a document would load, and the pages to which it links."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]


def test_the_page_loads_nothing_and_stays_small() -> None:
    """A phone gets it over a slow link, and a plant has no internet."""
    loads = Loads()
    loads.feed(page())
    assert [value for value in loads.found if not (value or "").startswith(("data:", "#"))] == []
    assert len(page().encode()) <= 182_000


def test_a_script_loses_only_indentation_and_comments_on_lines_of_their_own() -> None:
    """What stands inside a line is code, also where it looks like a comment."""
    script = (
        '/** Adds.\n * Twice. */\nconst add = (a) => {\n  // doubles\n\n  return "ws://" + a; // kept\n};\n'
    )
    assert squeezed(script) == 'const add=(a)=>{return "ws://" + a; // kept\n};'


def test_a_style_loses_only_white_space_and_last_semicolons() -> None:
    """That between the parts of a selector and of a value stays."""
    style = 'a :hover > b, p {\n  margin: 0 auto; content: attr(x) "\\00a0";\n}\n@media (max-width: 60rem) {\n  i { width: calc(1px - 2em); }\n}\n'
    assert (
        squeezed_style(style)
        == 'a :hover > b,p{margin:0 auto;content:attr(x) "\\00a0"}@media (max-width:60rem){i{width:calc(1px - 2em)}}'
    )
