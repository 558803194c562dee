"""Build the site in ``.site/html`` and check it: ``nox -s docs``."""

import sys

from website.build import build
from website.check import problems
from website.pages import ROOT

html = build(ROOT / ".site")
found = problems(html.parent / "pages", html)
sys.exit("\n".join(found) if found else print(f"{len(list(html.rglob('*.html')))} pages: {html}/index.html"))
