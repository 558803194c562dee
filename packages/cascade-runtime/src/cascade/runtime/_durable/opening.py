"""Beginning a run, or the next attempt of a recorded one: what blocks, in a thread."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade.interfaces import (
    CascadeError,
    Clock,
    Earlier,
    RecordedStatus,
    Resume,
    RunEndedError,
    RunInfo,
    RunInputsError,
    StateUnavailable,
    UnreadableResultError,
)
from cascade.runtime._durable.crash_points import reach
from cascade.runtime._durable.folder import RunPaths, take_claim
from cascade.runtime._durable.index import StepIndex
from cascade.runtime._durable.results import ResultCodec, Stored
from cascade.runtime._durable.run_file import Before, RunFile
from cascade.runtime._durable.schema import open_to_write, rescue_of
from cascade.runtime._storage.database import cause_of, is_damaged
from cascade.runtime._storage.process_lock import ProcessLock

_PARAMS = "params"


@dataclass(frozen=True, slots=True)
class Opened:
    """A run that is claimed and started."""

    claim: ProcessLock
    file: RunFile
    earlier: Earlier | None
    before: Before | None
    """How the run stood; None for a new run."""
    index: StepIndex


def open_run(
    paths: RunPaths, run: RunInfo, *, resume: Resume, codec: ResultCodec, power_safe: bool, clock: Clock
) -> Opened:
    """Claim a run, open its file and begin an attempt; when this returns, that is committed.

    :raises RunInUseError: if a live process has it.
    :raises RunEndedError: if it was cancelled and ``resume`` does not allow to continue it.
    :raises RunInputsError: if it is given other inputs.
    :raises UnstorableValueError: if an input cannot be stored.
    :raises StateUnavailable: if the file cannot be used.
    """
    now = clock.now()
    try:
        claim = take_claim(paths.lock, run.run_id, since=now)
    except OSError as exc:
        if isinstance(exc, StateUnavailable):
            raise
        raise StateUnavailable(str(paths.lock), str(exc)) from exc
    try:
        reach("lock-taken")
        file = RunFile(open_to_write(paths, power_safe=power_safe), paths)
        try:
            return Opened(claim, file, *_begin(file, run, resume=resume, codec=codec, now=now))
        except CascadeError:
            file.close()
            raise
        except (TypeError, ValueError, AttributeError, KeyError) as exc:
            # columns that Cascade has not written
            file.close()
            raise StateUnavailable(str(paths.database), rescue_of(paths.database, exc)) from exc
        except BaseException:
            file.close()
            raise
    except (sqlite3.Error, OSError) as exc:
        claim.release()
        if isinstance(exc, StateUnavailable):
            raise
        cause = rescue_of(paths.database, exc) if is_damaged(exc) else cause_of(exc)
        raise StateUnavailable(str(paths.database), cause) from exc
    except BaseException:
        claim.release()
        raise


def _begin(
    file: RunFile, run: RunInfo, *, resume: Resume, codec: ResultCodec, now: float
) -> tuple[Earlier | None, Before | None, StepIndex]:
    found = file.recorded()
    if found is not None and found["run_id"] != run.run_id:
        raise StateUnavailable(
            str(file.paths.database), f"it holds the run {found['run_id']!r}; give another run_id"
        )
    index = file.index()
    earlier = (
        None
        if found is None
        else _continued(found, run, resume=resume, codec=codec, file=file, kept=index.kept)
    )
    params = codec.encode(_PARAMS, dict(run.params or {}))
    secrets = json.dumps({name: codec.digest(name, value) for name, value in run.secrets.items()})

    def write() -> None:
        if found is None:
            file.begin_run(run, now=now, params=params, env=secrets)
        file.begin_attempt(run, now=now, kept=index.kept)

    file.transact(write)
    reach("begin-committed")
    file.delete_orphans()
    return earlier, None if found is None else _before(found), index


def _before(found: Mapping[str, Any]) -> Before:
    status = found["status"]
    if status == RecordedStatus.RUNNING.value:  # its process has died
        status = RecordedStatus.INTERRUPTED.value
    return Before(status, found["ended"], found["error"] or "")


def _continued(
    found: Mapping[str, Any], run: RunInfo, *, resume: Resume, codec: ResultCodec, file: RunFile, kept: int
) -> Earlier:
    """Check that the recorded run may be continued with these inputs; return what it recorded."""
    status = RecordedStatus(found["status"])
    status = RecordedStatus.INTERRUPTED if status is RecordedStatus.RUNNING else status
    if status is RecordedStatus.CANCELLED and resume is not Resume.CANCELLED:
        raise RunEndedError(run.run_id, status)
    params = _params_of(found, codec)
    if run.params is not None:
        _compare(run.run_id, params, run.params, codec)
    _compare_secrets(run, json.loads(found["env"] or "{}"), codec)
    return Earlier(status, params, found["shape"] or b"", kept, found["error"] or "", file.pending_events())


def _params_of(found: Mapping[str, Any], codec: ResultCodec) -> Mapping[str, Any]:
    encoding, _, payload = (found["params"] or b"").partition(b"\0")
    row = Stored(
        _PARAMS, encoding.decode("ascii", "replace"), payload, found["params_mac"], None, len(payload)
    )
    try:
        params: dict[str, Any] = codec.decode(row, Path())
    except UnreadableResultError as exc:
        raise StateUnavailable(
            found["run_id"], f"the recorded inputs of the run cannot be read: {exc.problem}"
        ) from exc
    return params


def _compare(run_id: str, recorded: Mapping[str, Any], given: Mapping[str, Any], codec: ResultCodec) -> None:
    names = tuple(
        name
        for name in sorted({*recorded, *given})
        if not (name in recorded and name in given and _equal(recorded[name], given[name], codec))
    )
    if names:
        first = names[0]
        before = f"{first}={_short(recorded[first])}" if first in recorded else f"no {first}"
        after = _short(given[first]) if first in given else "none"
        raise RunInputsError(run_id, names, f"{before}, and is given {after}")


def _compare_secrets(run: RunInfo, recorded: Mapping[str, str], codec: ResultCodec) -> None:
    names = tuple(
        name
        for name, value in sorted(run.secrets.items())
        if name in recorded and recorded[name] != codec.digest(name, value)
    )
    if names:
        raise RunInputsError(run.run_id, names, f"another value of {names[0]}")


def _equal(one: object, other: object, codec: ResultCodec) -> bool:
    """Compare two values, those that cannot be compared (such as arrays) as they are stored."""
    try:
        equal = type(one) is type(other) and bool(one == other)
    except Exception:
        equal = False
    return equal or codec.encode(_PARAMS, one).mac == codec.encode(_PARAMS, other).mac


def _short(value: object, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
