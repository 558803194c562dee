"""Facts of a run that its events do not show: written by its scheduler, read by its reports. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping

MAX_NODES = 300
"""Above so many calls, a graph has one node for each name."""
MAX_NAMES = 2_000
"""Names of a graph that has one node for each; further ones are only counted."""
_MAX_EDGES = 20_000

EdgeKey = tuple[str, str]


class GraphFacts:
    """The graph of a run as reports show it: call by call, and folded into one node for each name."""

    def __init__(self) -> None:
        self.rev = 0
        """Grows with every change of the nodes and edges."""
        self.calls: dict[str, tuple[str, str]] = {}
        """Name and kind by step key, at most one more than :data:`MAX_NODES`; an item belongs to its map."""
        self.names: dict[str, str] = {}
        """Kind by name."""
        self.names_more = 0
        self.edges: dict[EdgeKey, str] = {}
        """Role by step keys."""
        self.name_edges: dict[EdgeKey, str] = {}
        self.items: dict[str, int] = {}
        """Items by the step key of their map."""
        self.total = 0
        """Calls without items."""

    @property
    def folded(self) -> bool:
        """Whether there are too many calls to show each."""
        return self.total > MAX_NODES

    def add_call(self, key: str, name: str, kind: str) -> None:
        """Add a call."""
        self.total += 1
        self.rev += 1
        if len(self.calls) <= MAX_NODES:
            self.calls[key] = (name, kind)
        self.add_name(name, kind)

    def add_name(self, name: str, kind: str) -> None:
        """Add the name of a call."""
        if name in self.names:
            return
        if len(self.names) < MAX_NAMES:
            self.names[name] = kind
        else:
            self.names_more += 1

    def add_edge(self, start: EdgeKey, end: EdgeKey, role: str) -> None:
        """Add that a call needs another one; both with key and name."""
        if len(self.edges) < _MAX_EDGES and not self.folded and start[0] != end[0]:
            self.edges.setdefault((start[0], end[0]), role)
        names = (start[1], end[1])
        if names not in self.name_edges and len(self.name_edges) < _MAX_EDGES and start[0] != end[0]:
            self.name_edges[names] = role
            self.rev += 1


class RunFacts:
    """What a run knows of its tasks beyond what its events show."""

    def __init__(self) -> None:
        self.began: float | None = None
        """When the run began, as its first event says, in seconds since the epoch; ``ended``: as its last one does."""
        self.ended: float | None = None
        self.known: dict[str, int] = {}
        """Tasks that the graph has so far, by name."""
        self.unexpanded = 1
        """Parts of the graph that may still add tasks: maps, routes, and the first build."""
        self.retries: dict[str, float] = {}
        """When the next attempt of a task begins, in seconds since the epoch, by its key."""
        self.attempt_begins: Callable[[str], None] = lambda key: None
        """Called with the key of a task whose next attempt begins without an event."""
        self.waits_for_slot: Callable[[], int] = lambda: 0
        """Returns how many tasks are ready and wait for a worker."""
        self.over_map_limits: Callable[[], Mapping[str, int]] = dict
        """Returns how many items the limit of their own map holds back, by the name of their task."""
        self.graph = GraphFacts()

    @property
    def open(self) -> bool:
        """Whether more tasks may come."""
        return self.unexpanded > 0
