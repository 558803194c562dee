"""An index of packages on loopback (PEP 503), and questions to one that others serve."""

from __future__ import annotations

import contextlib
import hashlib
import html
import os
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

from releasing.decisions import Listed, comparable

SECONDS = 30
_LINK = re.compile(r'<a [^>]*?href="(?P<path>[^"#]*)')


class Unreachable(Exception):
    """The index did not answer as one."""


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve the archives of a folder as an index on a free port of loopback; its address is the value."""
    for name, pages in _pages(folder).items():
        page = folder / "simple" / name / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(pages, "utf-8")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, name="index")
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/simple/"
        finally:
            server.shutdown()
            thread.join()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing: pip reports what it misses."""


def _pages(folder: Path) -> dict[str, str]:
    links = defaultdict[str, list[str]](list)
    for path in sorted(folder.iterdir()):
        if path.suffix in (".whl", ".gz", ".zip"):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            name = re.split(r"-\d", path.name)[0]
            link = f'<a href="../../{quote(path.name)}#sha256={digest}">{html.escape(path.name)}</a><br>'
            links[re.sub(r"[-_.]+", "-", name).lower()].append(link)
    return {name: "<!DOCTYPE html>\n" + "\n".join(found) + "\n" for name, found in links.items()}


def only(url: str) -> dict[str, str | None]:
    """Return the environment in which pip knows this index and nothing else."""
    unset: dict[str, str | None] = {name: None for name in os.environ if name.startswith("PIP_")}
    return unset | {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": url, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def index_of_pip() -> str:
    """Return the index that pip asks: its help names it, as far as settings and environment have changed it."""
    asked = (sys.executable, "-m", "pip", "install", "--help")
    done = subprocess.run(
        asked, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "1000"}
    )
    found = re.search(r"Python Package Index \(default (?P<url>\S+)\)", done.stdout)
    if not found:
        raise Unreachable("pip does not say which index it asks; name one with --index")
    return found["url"]


def ask(url: str, names: Iterable[str]) -> Listed:
    """Ask an index for projects by name.

    :raises Unreachable: if it does not answer.
    """
    found = {name: files for name in names if (files := _files(url, name)) is not None}
    return Listed(found)


def _files(url: str, name: str) -> tuple[str, ...] | None:
    request = urllib.request.Request(f"{url.rstrip('/')}/{name}/", headers={"Accept": "text/html"})
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            page = answer.read().decode("utf-8", "replace")
    except urllib.error.HTTPError as exc:
        with exc:
            if exc.code in (404, 410):
                return None
            raise Unreachable(f"{url} answers {exc.code}") from exc
    except OSError as exc:
        raise Unreachable(f"{url} does not answer ({getattr(exc, 'reason', exc)})") from exc
    # some indexes answer for a name with the page of another spelling
    names = tuple(link["path"].rpartition("/")[2] for link in _LINK.finditer(page))
    return tuple(each for each in names if comparable(each).startswith(comparable(name)))
