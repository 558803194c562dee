"""The settings of ``with_cache``: when a task need not run because its value is already there."""

from __future__ import annotations

import inspect
import os
import string
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from cascade.interfaces.errors import ConfigurationError
from cascade.interfaces.text import meant
from cascade.spec.checks import is_number
from cascade.spec.definition import TaskDefinition

if TYPE_CHECKING:
    from cascade.interfaces.cache import CacheBackend

PathSpec = str | os.PathLike[str] | Callable[..., str | os.PathLike[str]]
"""A path, a template filled from the task's arguments (``"out/{name}.csv"``), or a function of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePolicy:
    """Take a task's value from a cache, or by the existence of a file.

    Without ``file`` a value is found again by the task's code and its arguments. The code is the
    function with all literals, defaults and captured values, and the functions, classes and
    values of the same module that it uses, with all that they use. The code of imported modules
    does not count: raise ``version`` when it changes. A value that cannot be compared, such as a
    connection, is an error when the task is called: name it in ``ignore`` if the result does not depend on it.

    With ``file`` the task writes that file, and its value is the file's ``Path``. It does not
    run while the file exists, is complete, is not older than ``ttl`` seconds and not older than
    the files ``newer_than``.

    :raises ConfigurationError: if a value makes no sense.
    """

    ttl: float | None = None
    """Seconds for which a value is good; None: for ever."""
    key: Callable[..., object] | None = None
    """Called like the task; its result stands for the arguments."""
    ignore: tuple[str, ...] = ()
    """Names of parameters and of captured or global variables that do not count, or one name."""
    version: str | int | None = None
    """Values of another version are not used."""
    backend: CacheBackend | None = None
    """Where values are kept; None: the engine's own backend."""
    file: PathSpec | None = None
    newer_than: tuple[PathSpec, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "newer_than", _as_tuple(self.newer_than))
        object.__setattr__(self, "ignore", _as_names(self.ignore))
        _check_ttl(self.ttl)
        _check_key(self.key)
        if isinstance(self.version, bool) or not isinstance(self.version, str | int | None):
            _refuse("version", f"needs a string or a whole number, not {self.version!r}")
        if self.backend is not None:
            _check_backend(self.backend)
        if self.file is None:
            if self.newer_than:
                _refuse("newer_than", "needs file=, which it is compared with")
            return
        self._check_file()

    def _check_file(self) -> None:
        useless = [
            name for name in ("key", "ignore", "version", "backend") if getattr(self, name) not in (None, ())
        ]
        if useless:
            _refuse("file", f"decides alone whether the task runs; leave out {' and '.join(useless)}")
        _check_path("file", self.file)
        for path in self.newer_than:
            _check_path("newer_than", path)

    def check_for(self, definition: TaskDefinition) -> None:
        """Refuse templates that name a parameter that the task does not have, and resources that would be compared.

        :raises ConfigurationError: naming the template and the parameters there are, or what to ignore.
        """
        if self.file is None and self.key is None:
            self._check_resources(definition)
        if definition.signature is None:
            return
        known = definition.signature.parameters
        for setting, path in (("file", self.file), *(("newer_than", path) for path in self.newer_than)):
            for name in template_fields(path):
                if name not in known:
                    have = ", ".join(known) or "none"
                    _refuse(
                        setting, f"{{{name}}} is not a parameter of task {definition.name!r}; it has {have}"
                    )

    def _check_resources(self, definition: TaskDefinition) -> None:
        compared = tuple(name for name in definition.injections if name not in self.ignore)
        if compared:
            problem = (
                f"parameter {compared[0]!r} of task {definition.name!r} gets a resource, which cannot be compared; "
                f"write with_cache(ignore={(*self.ignore, *compared)!r}) if the result does not depend on it, "
                "or key= with a function of the arguments"
            )
            _refuse("ignore", problem)


def cache_policy(
    definition: TaskDefinition, policy: CachePolicy | None, settings: dict[str, Any]
) -> CachePolicy:
    """Return the policy that ``with_cache`` was given, for this task.

    :raises ConfigurationError: if it makes no sense for the task, or is given twice.
    """
    if policy is not None and settings:
        _refuse("policy", f"is given already; put {', '.join(settings)} into it")
    unknown = settings.keys() - CachePolicy.__dataclass_fields__.keys()
    if unknown:
        known = CachePolicy.__dataclass_fields__
        _refuse(min(unknown), f"is unknown; there are {', '.join(known)}{meant(min(unknown), known, '{}=')}")
    made = CachePolicy(**settings) if policy is None else policy
    if not isinstance(made, CachePolicy):
        _refuse("policy", f"needs a CachePolicy, or settings by name, as with_cache(ttl=60), not {made!r}")
    made.check_for(definition)
    return made


def template_fields(path: object) -> list[str]:
    """Return the names that a template takes from the arguments; none for a function.

    :raises ValueError: if braces do not match.
    """
    if callable(path) or path is None:
        return []
    return list(_fields(os.fspath(path)))  # type: ignore[call-overload]


def _fields(template: str) -> Iterator[str]:
    for _, name, specification, _ in string.Formatter().parse(template):
        if name is not None:
            yield name.split(".")[0].split("[")[0]
            yield from _fields(specification or "")  # "{name:>{width}}"


def _as_tuple(paths: Any) -> tuple[PathSpec, ...]:
    if isinstance(paths, str | os.PathLike) or callable(paths):
        return (paths,)
    if not isinstance(paths, Sequence):
        _refuse("newer_than", f"needs a path or a list of them, not {paths!r}")
    return tuple(paths)


def _as_names(names: Any) -> tuple[str, ...]:
    given = (names,) if isinstance(names, str) else names
    if not isinstance(given, Collection) or not all(isinstance(n, str) and n.isidentifier() for n in given):
        _refuse("ignore", f"needs names of parameters or variables, such as ('db',), not {names!r}")
    return tuple(given)


def _check_ttl(ttl: object) -> None:
    if ttl is not None and (not is_number(ttl) or ttl <= 0):
        _refuse("ttl", f"needs a number of seconds above 0, not {ttl!r}")


def _check_key(key: object) -> None:
    if key is None:
        return
    if not callable(key):
        _refuse("key", f"needs a function of the task's arguments, not {key!r}")
    if inspect.iscoroutinefunction(key):
        _refuse("key", "needs a plain function; an async one cannot be called before the task runs")


def _check_backend(backend: object) -> None:
    # declaring a task needs no protocols otherwise
    from cascade.interfaces.abilities import supports
    from cascade.interfaces.cache import CacheBackend

    if not supports(backend, CacheBackend):
        _refuse("backend", f"needs get, put and close, as MemoryCache and SqliteCache have; not {backend!r}")


def _check_path(setting: str, path: object) -> None:
    if callable(path):
        return
    if not isinstance(path, str | os.PathLike) or not str(path):
        _refuse(setting, f"needs a path, a template like 'out/{{name}}.csv' or a function, not {path!r}")
    try:
        names = template_fields(path)
    except ValueError as exc:
        _refuse(setting, f"{str(path)!r} is not a template: {exc}; write {{{{ or }}}} for a literal brace")
    if not all(name.isidentifier() for name in names):
        _refuse(setting, f"{str(path)!r} has a field without a name; write the parameter's: {{name}}")


def _refuse(setting: str, problem: str) -> NoReturn:
    raise ConfigurationError(f"with_cache({setting}=)", problem)
