"""Abilities of an executor beyond its four methods, as its author declares them."""

from __future__ import annotations

from enum import Enum


class Ability(Enum):
    """One ability; its value describes what its tests show, and is the reason where they are skipped."""

    PICKLES = "runs calls in other processes, and names what cannot be pickled"
    STOPS = "stops a running call when it is given up"
    COUNTS = "knows in settle() how many calls that were given up still run"
    TRACKS = "reports when a call that was abandoned while it ran has ended"
    STEPS = "passes its step on to a call"
    CONTEXTS = "passes on progress and values of its calls, and has them obey pause and cancel"
    SURVIVES = "fails a call whose worker was killed, does not run it again, and goes on"
