"""The page is one file that loads nothing, and a browser runs only the scripts that are in it."""

import base64
import hashlib
import re
import zlib
from html.parser import HTMLParser
from importlib.resources import files

import pytest
from served_page import script_names

from cascade.web import page

PARTS = files("cascade.web") / "_page"


def test_every_script_and_the_style_are_in_the_page_with_their_hashes() -> None:
    """A browser runs what the policy names; a script that is not listed would never run."""
    text = page()
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', text)
    (packed,) = re.findall('<template id="packed">(.*?)</template>', text)
    unpacked = zlib.decompress(base64.b64decode(packed)).decode()
    for element, hidden in (("script", [unpacked]), ("style", [])):
        inside = [*re.findall(f"<{element}>(.*?)</{element}>", text, re.DOTALL), *hidden]
        digests = [base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in inside]
        (allowed,) = re.findall(f"{element}-src ([^;]*)", policy)
        assert allowed == " ".join(f"'sha256-{digest}'" for digest in digests)
    names = script_names((PARTS / "scripts.txt").read_text("utf-8"))
    assert unpacked == "\n".join((PARTS / name).read_text("utf-8") for name in names)
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
    assert len(page().encode()) <= 150_000
