"""Machines that share a lease through a broker with one order, in a time of their own."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from random import Random

from cascade.runtime.serving._lease import LeaseRules
from cascade.wire.leases import LeaseMessage

TTL = 10.0
STEP = TTL / 20


@dataclass(eq=False)
class Box:
    """A machine; what it is sent waits in ``inbox``, and what it sends in ``outbox``."""

    rules: LeaseRules
    inbox: deque[LeaseMessage | bool] = field(default_factory=deque)
    """A bool: the link is up, or down."""
    outbox: deque[LeaseMessage] = field(default_factory=deque)
    linked: bool = False
    frozen: bool = False
    until: dict[str, float] = field(default_factory=dict)
    """By trouble: when it ends."""


class Fleet:
    """Boxes and a broker. Nothing moves by itself: :meth:`calm` is a network without delays."""

    def __init__(self, boxes: int, seed: int = 0) -> None:
        self.now = 1_000.0
        random = Random(seed)
        self.boxes = [
            # claims meet often
            Box(LeaseRules(f"box-{n}", f"session-{n}", TTL, lambda: random.choice([0.0, 0.0, 0.2, 1.0])))
            for n in range(boxes)
        ]
        self.retained: LeaseMessage | None = None
        self.top = 0
        """The highest term that was renewed."""
        self.misled = False
        """Whether a box has linked while the broker had lost that term, or had a late renewal in its place."""
        self.works: list[tuple[float, int, str]] = []
        """Each moment at which a tick could begin: time, term and session."""

    def link(self, box: Box) -> None:
        """Link a box, which gets the retained message; what it had sent on an earlier link may come yet."""
        self.cut(box)
        box.linked = True
        box.inbox.append(True)
        self.misled |= (0 if self.retained is None else self.retained.term) < self.top
        if self.retained is not None:
            box.inbox.append(self.retained)

    def cut(self, box: Box) -> None:
        """Cut the link of a box, which sees that behind what has come."""
        if box.linked:
            box.linked = False
            box.inbox.append(False)

    def act(self, box: Box) -> None:
        """Have a box send what is due."""
        if not box.frozen and (message := box.rules.due(self.now)) is not None and box.linked:
            box.outbox.append(message)

    def carry(self, box: Box) -> None:
        """Have the broker take what a box has sent."""
        if box.outbox:
            message = box.outbox.popleft()
            if not message.claim:
                self.retained, self.top = message, max(self.top, message.term)
            for each in self.boxes:
                if each.linked:
                    each.inbox.append(message)

    def deliver(self, box: Box) -> None:
        """Have a box read the next message that has come for it."""
        if box.inbox and not box.frozen:
            message = box.inbox.popleft()
            if message is True:
                box.rules.linked(self.now)
            elif message is False:
                box.rules.lost()
            else:
                box.rules.heard(message, self.now)
            self.check()

    def pass_time(self, seconds: float) -> None:
        """Let the clock run, and nothing else."""
        self.now += seconds
        self.check()

    def calm(self, seconds: float) -> None:
        """Let everything run that is not frozen or cut."""
        until = self.now + seconds
        while self.now < until:
            for box in self.boxes:
                self.act(box)
            while any(box.outbox or (box.inbox and not box.frozen) for box in self.boxes):
                for box in self.boxes:
                    self.carry(box)
                    self.deliver(box)
                    self.act(box)
            self.pass_time(min(STEP, until - self.now))

    def play(self, random: Random, steps: int, *, keeps_store: bool) -> None:
        """Let everything run while boxes are frozen, and links are cut and stand still, at random."""
        for _ in range(steps):
            self._trouble(random, keeps_store=keeps_store)
            for box in random.sample(self.boxes, len(self.boxes)):
                for kind, move in (("in", self.deliver), ("freeze", self.act), ("out", self.carry)):
                    late = random.random() < 0.3
                    for _ in range(random.randint(1, 6)):
                        if not late and self.now >= box.until.get(kind, 0.0):
                            move(box)
                if not box.linked and self.now >= box.until.get("cut", 0.0) and random.random() < 0.3:
                    self.link(box)
            self.pass_time(STEP)

    def _trouble(self, random: Random, *, keeps_store: bool) -> None:
        if random.random() < 0.15:
            box, kind = random.choice(self.boxes), random.choice(["in", "out", "freeze", "cut"])
            box.until[kind] = self.now + TTL * random.choice([0.1, 0.5, 0.9, 1.2, 2.0]) * random.uniform(
                0.8, 1.2
            )
            if kind == "cut":
                self.cut(box)
        for box in self.boxes:
            box.frozen = self.now < box.until.get("freeze", 0.0)
        if not keeps_store and random.random() < 0.01:
            self.retained = None
            for box in self.boxes:
                self.cut(box)
                box.outbox.clear()

    def holders(self) -> list[Box]:
        """Return the boxes at which a tick could begin now; a frozen one would ask its clock first."""
        return [box for box in self.boxes if box.rules.holds(self.now)]

    def check(self) -> None:
        """Note who could work now: never two."""
        found = self.holders()
        assert len(found) <= 1, [(box.rules.source, box.rules.term) for box in found]
        self.works += [(self.now, box.rules.term, box.rules.session) for box in found]

    def check_terms(self) -> None:
        """No work of an older term is behind a newer one, and each term has one holder, as long as the broker keeps the newest term."""
        if self.misled:
            return
        terms = [term for _, term, _ in self.works]
        assert terms == sorted(terms)
        assert len({(term, session) for _, term, session in self.works}) == len(set(terms))
