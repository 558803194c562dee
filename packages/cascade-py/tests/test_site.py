"""The documentation site has every page, every public name, every command and every error; the generator is not needed."""

import inspect
import re
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from public_modules import MODULES as WITH_A_PUBLIC_INTERFACE

from cascade.cli.main import COMMANDS, EXTRAS
from website import names
from website.build import with_code_that_breaks
from website.check import problems
from website.commands import command_pages
from website.pages import (
    GENERATED,
    ROOT,
    SETTINGS,
    WITHOUT_A_PLACE,
    converted,
    links,
    navigation,
    pages,
    place,
    resolved,
)

ERRORS = (ROOT / "packages/cascade-interfaces/ERRORS.md").read_text("utf-8")


def test_every_page_is_in_the_navigation_once_or_has_a_reason() -> None:
    """And the navigation has nothing else, but what is made from the code."""
    named = Counter(page for _, page in navigation())
    made = {page for page in named if page.startswith(GENERATED)}
    expected = {place(page) for page in pages()} - WITHOUT_A_PLACE.keys()
    assert named == Counter(expected | made)
    assert made == {*map(names.page_of, names.MODULES), names.INDEX, *command_pages()}
    assert all(WITHOUT_A_PLACE.values())
    assert WITHOUT_A_PLACE.keys() <= {*pages()}


def test_code_breaks_where_a_reader_expects_it() -> None:
    """A short piece of code stays on one line, a long one breaks behind a separator; a listing is left as it is."""
    pieces = "<code>--state</code> <code>cascade/state/{source}/runs</code> <code>a &amp;&amp; b_c &amp;&amp; d_e</code>"
    listing = "<pre><span></span><code>a-b\n</code></pre>"
    assert with_code_that_breaks(pieces + listing) == (
        '<code class="whole">--state</code> <code>cascade/<wbr>state/<wbr>{source}/<wbr>runs</code> '
        f'<code class="whole">a &amp;&amp; b_c &amp;&amp; d_e</code>{listing}'
    )


def test_the_navigation_is_by_need() -> None:
    sections = list(dict.fromkeys(titles[0] for titles, _ in navigation()))
    assert sections == ["Start", "How-to", "Concepts", "Reference", "Write your own"]


@pytest.mark.parametrize("page", pages())
def test_every_link_of_a_page_leads_to_a_file_or_a_heading(page: str) -> None:
    """A folder counts as its page; the build checks the same in its own pages."""
    for link in links((ROOT / page).read_text("utf-8")):
        if where := resolved(link, page):
            target, anchor = where
            assert (ROOT / target).is_file(), link
            if anchor and target.endswith(".md"):
                assert anchor in anchors((ROOT / target).read_text("utf-8")), link


def anchors(text: str) -> set[str]:
    """Anchors of the headings, as GitHub and the generator make them."""
    without_code = re.sub(r"^( *)```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", without_code, re.MULTILINE)
    plain = [
        re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text.lower())) for text in headings
    ]
    return {text.strip().replace(" ", "-") for text in plain}


@pytest.mark.full
def test_every_public_name_is_described_on_one_page() -> None:
    """Each also stands in the list of all names, with every module that exports it."""
    assert {*WITH_A_PUBLIC_INTERFACE} <= names.MODULES.keys()
    made = names.api_pages()
    index = made.pop(names.INDEX)
    described = Counter(
        found for text in made.values() for found in re.findall(r"^## .* \{: #(\S+) \}$", text, re.MULTILINE)
    )
    assert {*described.values()} == {1}
    for path, homes in names.homes().items():
        for name, home in homes.items():
            assert f"{home}.{name}" in described
            (row,) = re.findall(rf"^\| \[`{name}`\]\(api/{home}\.md#.*$", index, re.MULTILINE)
            assert f"`{path}`" in row
    assert sum(described.values()) > 300


@pytest.mark.full
def test_a_name_is_described_by_its_signature_its_text_and_its_members() -> None:
    """As the page shows them: no internal path, fields as lists, methods below their class."""
    text = names.api_pages()["reference/api/cascade.md"]
    entry = text.partition("{: #cascade.Outbox }")[2].partition("\n## ")[0]
    assert "*class*" in entry
    assert "power_safe: bool = False," in entry
    assert "### Outbox.sender {: #cascade.Outbox.sender }" in entry
    assert "- `ConfigurationError`: " in entry
    assert ":param" not in text
    assert ":raises" not in text


def test_every_command_and_option_is_on_the_page_of_commands() -> None:
    (text,) = command_pages().values()
    shown = re.findall(r"^## cascade (\S+)$", text, re.MULTILINE)
    assert {*shown} == {*COMMANDS, *(name for _, offered in EXTRAS.values() for name in offered)}
    assert "| `-p, --param KEY=VALUE` |" in text.partition("## cascade run")[2].partition("\n## ")[0]
    assert "## cascade outbox drop" in text


def test_every_public_error_has_its_cause_and_its_remedy() -> None:
    """In one row; the two families are above the tables."""
    rows = re.findall(r"^\| `(\w+)` \| (\S.*) \| (\S.*) \|$", ERRORS, re.MULTILINE)
    public = {
        name
        for module, homes in names.homes().items()
        for name in homes
        if inspect.isclass(value := getattr(import_module(module), name)) and issubclass(value, Exception)
    }
    families = {"CascadeError", "UsageError", "ExternalError"}
    assert Counter(name for name, _, _ in rows) == Counter(public - families)
    assert all(f"`cs.{name}`" in ERRORS for name in families)


def test_the_page_of_errors_is_true(capsys: pytest.CaptureFixture[str]) -> None:
    """Its example prints what it promises."""
    (block,) = re.findall(r"```python\n(.*?)```", ERRORS, re.DOTALL)
    exec(block, {"__name__": "page"})
    assert re.findall(r"# (\w+Error - .*)", block) == capsys.readouterr().out.splitlines()


def test_every_environment_variable_is_among_the_settings() -> None:
    """Those that only tests read, and the prefixes of others, are not."""
    page = (ROOT / "packages/cascade-py/docs/settings.md").read_text("utf-8")
    sources = (path.read_text("utf-8") for path in ROOT.glob("packages/*/src/**/*.py"))
    read = {name for source in sources for name in re.findall(r"\bCASCADE_[A-Z_]+\b", source)}
    others = {"CASCADE_MQTT", "CASCADE_NATS", "CASCADE_TEST_SEED"}
    assert read - others <= {*re.findall(r"`(CASCADE_[A-Z_]+)`", page)}


def test_a_page_is_converted_for_the_generator() -> None:
    """A word behind the language is a title; folders are pages; other files come along; code stays as it is."""
    text = "See [all](../cascade-web), [code](examples/etl.py) and `[x](y)`.\n```json body\n[x](y)\n```\n"
    made, files = converted(text, "packages/cascade-py/README.md")
    assert made == (
        "See [all](../cascade-web/README.md), [code](examples/etl.py) and `[x](y)`.\n"
        '```json title="body"\n[x](y)\n```\n'
    )
    assert files == ["packages/cascade-py/examples/etl.py"]
    image = '<img src="pictures/form.png" alt="a">\n'
    assert converted(image, "packages/cascade-web/README.md") == (
        image,
        ["packages/cascade-web/pictures/form.png"],
    )
    assert (
        converted("[d](../packages/cascade-ops)", ".github/SECURITY.md")[0]
        == "[d](../packages/cascade-ops/README.md)\n"
    )
    assert converted("[s](.github/SECURITY.md#a)", "README.md")[0] == "[s](project/SECURITY.md#a)\n"


def test_a_site_that_lacks_something_is_refused(tmp_path: Path) -> None:
    """A dead link, a dead anchor, another host, and a part of a page that the generator swallowed."""
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages/a.md").write_text("# A\n\n## B\n\n- one\n- two\n", "utf-8")
    html = tmp_path / "html"
    html.mkdir()
    body = '<article><h1 id="a">A</h1><ul><li>one</ul></article><img src="p.png"><a href="b.html">b</a><a href="#c">c</a>'
    (html / "a.html").write_text(f'<script src="https://cdn.example/x.js"></script>{body}', "utf-8")
    (html / "a.css").write_text("@font-face { src: url(https://fonts.example/f) }", "utf-8")
    assert problems(tmp_path / "pages", html) == [
        "a.html: a link leads nowhere: b.html",
        "a.html: a link leads to no place of its page: #c",
        "a.html: loads https://cdn.example/x.js from another host",
        "a.html: a file is missing: p.png",
        "a.html: has 0 of 1 <h2>",
        "a.html: has 1 of 2 <li>",
        "a.css: loads https://fonts.example/f from another host",
    ]


def test_the_site_asks_no_other_host_for_fonts() -> None:
    assert yaml.safe_load(SETTINGS.read_text("utf-8"))["theme"]["font"] is False
