"""The runs in a collector's file."""

from __future__ import annotations

import json
from collections.abc import Iterator

from cascade.cli.collected.file import CollectedFile
from cascade.cli.collected.fold import CollectedRun

_EVENTS = """
SELECT run_id, source, org_id, project_id, token, payload FROM event WHERE kind = 'events' AND (? IS NULL OR run_id = ?)
ORDER BY run_id, source, org_id, project_id, received, token, seq
"""


def collected_runs(file: CollectedFile, run_id: str | None = None) -> Iterator[CollectedRun]:
    """Yield the runs in a collector's file, or those with one id: several boxes may have used it."""
    run: CollectedRun | None = None
    last = None
    for found, source, org_id, project_id, token, payload in file.rows(_EVENTS, (run_id, run_id)):
        if run is None or last != (found, source, org_id, project_id):
            if run is not None:
                yield run
            last = (found, source, org_id, project_id)
            run = CollectedRun(found, source, project_id)
        run.add(token, json.loads(payload))
    if run is not None:
        yield run
