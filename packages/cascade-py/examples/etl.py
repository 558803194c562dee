"""ETL with retries: orders are fetched from an HTTP server that fails every other time, summed, and stored.

Shows ``with_retry`` (only for errors of the network), ``with_timeout``, a bounded ``map``, and a
resource: the database is opened when the first task needs it and closed at the end, whatever
happens. The server is a part of this file and listens on a free port of this machine only.

    python etl.py
"""

import json
import sqlite3
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import cascade as cs

PAGES = 6


@cs.task
def extract(base: str, page: int) -> list[dict[str, Any]]:
    """Fetch one page of orders."""
    try:
        with urllib.request.urlopen(f"{base}/orders/{page}", timeout=5) as answer:
            orders: list[dict[str, Any]] = json.load(answer)
    except urllib.error.HTTPError as error:
        error.close()  # it keeps the connection open
        raise
    return orders


@cs.task(mode="inline")
def transform(pages: list[list[dict[str, Any]]]) -> dict[str, int]:
    """Sum the orders by customer."""
    totals: Counter[str] = Counter()
    for order in (order for page in pages for order in page):
        totals[order["customer"]] += order["cents"]
    return dict(totals)


@cs.resource
def database() -> Iterator[sqlite3.Connection]:
    """Open a database for the time of the run."""
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.execute("CREATE TABLE totals (customer TEXT PRIMARY KEY, cents INTEGER)")
    yield connection
    connection.close()


@cs.task
def load(totals: dict[str, int], db: sqlite3.Connection = cs.inject(database)) -> list[tuple[str, int]]:  # noqa: B008 - how a resource is asked for
    """Store the sums, and read back what is stored."""
    with db:
        db.executemany("INSERT INTO totals VALUES (?, ?)", totals.items())
    return db.execute("SELECT customer, cents FROM totals ORDER BY customer").fetchall()


def workflow(base: str) -> cs.LazyResult[list[tuple[str, int]]]:
    """Declare everything; nothing runs yet."""
    fetch = extract.partial(base=base).with_timeout(10)
    fetch = fetch.with_retry(4, delay=0.01, backoff=2.0, jitter=0.5, on=(urllib.error.URLError,))
    pages = fetch.map(page=range(PAGES)).with_concurrency(3)
    return load(transform(pages))


class Flaky(BaseHTTPRequestHandler):
    """Answers each page with 503 at first, and with orders from then on."""

    asked: ClassVar[Counter[str]] = Counter()

    def do_GET(self) -> None:
        """Answer one request."""
        self.asked[self.path] += 1
        if self.asked[self.path] == 1:
            self.send_error(503)
            return
        page = int(self.path.rsplit("/", 1)[1])
        orders = [
            {"customer": name, "cents": 100 * page + extra} for extra, name in enumerate(("ada", "bob"))
        ]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(orders).encode())

    def log_message(self, *args: Any) -> None:
        """Stay silent."""


@contextmanager
def serving() -> Iterator[str]:
    """Run the server in a thread."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Flaky) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    with serving() as base:
        for customer, cents in cs.run(workflow(base)):
            print(f"{customer}: {cents / 100:.2f}")
    print(f"{Flaky.asked.total()} requests for {PAGES} pages")
