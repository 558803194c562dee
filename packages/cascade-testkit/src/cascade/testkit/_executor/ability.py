"""What an executor may be able to do beyond its four methods, as its author declares it."""

from __future__ import annotations

from enum import Enum


class Ability(Enum):
    """One ability; its value says what the tests of it show, and is the reason where they are skipped."""

    PICKLES = "runs calls in other processes, and says in words what cannot be pickled"
    STOPS = "stops a running call when it is given up"
    COUNTS = "knows in settle() how many calls that were given up still run"
    TRACKS = "tells when a call that was given up while it ran has ended"
    SURVIVES = "runs a call again when its worker was killed"
