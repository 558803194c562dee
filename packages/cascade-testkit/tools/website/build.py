"""Build of the site: copy the pages, make those of the reference, and run the generator."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html import unescape
from pathlib import Path

from website.commands import command_pages
from website.names import api_pages
from website.pages import SETTINGS, stage, write

GENERATOR = "zensical"
WHOLE = 24
"""Characters of a piece of code in a text up to which it stays on one line."""
_CODE = re.compile(r"<code>([^<\n]+)</code>")
_BREAK = re.compile(r"(?<=[/_.])(?=[\w{])")


def build(folder: Path) -> Path:
    """Build the site below a folder, and return the folder of its HTML; what the generator warns of is an error."""
    shutil.rmtree(folder, ignore_errors=True)
    stage(folder / "pages")
    for place, text in {**api_pages(), **command_pages()}.items():
        write(folder / "pages" / place, text)
    shutil.copy(Path(__file__).with_name("site.css"), folder / "pages")
    settings = SETTINGS.read_text("utf-8").replace(" .site/", " ")
    write(folder / SETTINGS.name, settings)
    done = subprocess.run(
        [sys.executable, "-m", GENERATOR, "build", "--strict"],
        cwd=folder,
        env={**os.environ, "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        output = re.sub(r"\x1b\[[\d;]*m", "", done.stdout).partition("Traceback")[0]
        sys.exit(f"{GENERATOR} ended with {done.returncode}:\n{output}")
    for page in (folder / "html").rglob("*.html"):
        write(page, with_code_that_breaks(page.read_text("utf-8")))
    return folder / "html"


def with_code_that_breaks(html: str) -> str:
    """Keep short code in a text on one line, and permit a line break in longer code behind each separator."""

    def changed(code: re.Match[str]) -> str:
        if len(unescape(code[1])) <= WHOLE:
            return f'<code class="whole">{code[1]}</code>'
        return f"<code>{_BREAK.sub('<wbr>', code[1])}</code>"

    return _CODE.sub(changed, html)
