"""The parameters of a workflow: of its function, and the ``cs.Param`` inputs of its graph; and their JSON Schema. No I/O."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

import msgspec

from cascade.interfaces.redaction import Redactor
from cascade.runtime.starting._conversions import Conversion, Schema, conversion_of, truth
from cascade.runtime.starting._docstrings import descriptions
from cascade.spec import Injection, Input, LazyResult

REQUIRED: Any = inspect.Parameter.empty
"""The default of a parameter that has none."""


class Parameter(NamedTuple):
    """A value that a caller can give: on the command line, in a message, in a form."""

    name: str
    conversion: Conversion
    default: Any = REQUIRED
    description: str = ""
    boolean: bool = False

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is REQUIRED

    @property
    def shown_default(self) -> str:
        """The default as the help shows it; empty for none."""
        if self.required or self.default is None:
            return ""
        return (
            str(self.default).lower() if self.boolean else str(getattr(self.default, "value", self.default))
        )

    def schema(self, redactor: Redactor = Redactor.DEFAULT) -> Schema:
        """Return the JSON Schema, with the default, unless that is a secret or not JSON, and the description."""
        found = dict(self.conversion.schema)
        if self.description:
            found["description"] = redactor.one_line(self.description)
        if not self.required:
            with contextlib.suppress(TypeError, ValueError, RecursionError):
                found |= _shown_default(self.name, self.default, redactor)
        return found


def schema_of(parameters: Iterable[Parameter], redactor: Redactor = Redactor.DEFAULT) -> Schema:
    """Return the JSON Schema of an object that holds the values of parameters by name."""
    properties, definitions, required = dict[str, Schema](), dict[str, Schema](), list[str]()
    for each in parameters:
        schema = properties[each.name] = each.schema(redactor)
        # references are paths from the root
        definitions |= schema.pop("$defs", {})
        if each.required:
            required.append(each.name)
    found: Schema = {"type": "object", "properties": properties, "required": required}
    return {**found, "$defs": definitions} if definitions else found


def of_inputs(inputs: Iterable[Input]) -> list[Parameter]:
    """Return the ``cs.Param`` inputs among ``inputs``, each name once."""
    found: dict[str, Parameter] = {}
    for source in inputs:
        if not source.from_environment:
            found.setdefault(source.name, _of_input(source))
    return list(found.values())


def of_function(function: Callable[..., Any]) -> list[Parameter]:
    """Return the parameters of a function that a caller can give by name; resources and inputs are left out."""
    signature = inspect.signature(function)
    hints, texts = _hints(function), descriptions(function.__doc__)
    return [
        _of_argument(each, hints.get(each.name, _as_written(each)), texts.get(each.name, ""))
        for each in signature.parameters.values()
        if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
        and not isinstance(each.default, Injection | LazyResult)
    ]


def _of_input(source: Input) -> Parameter:
    conversion = conversion_of(source.convert)
    # the run calls it, and must not call it twice
    if not isinstance(source.convert, type):
        conversion = conversion_of(Any)._replace(name=conversion.name)
    default = REQUIRED if source.required else source.default
    return Parameter(source.name, conversion, default, source.description, source.convert is bool)


def _of_argument(argument: inspect.Parameter, annotation: Any, described: str) -> Parameter:
    if annotation is argument.empty and argument.default not in (argument.empty, None):
        annotation = type(argument.default)
    conversion = conversion_of(annotation)
    return Parameter(
        argument.name,
        conversion,
        argument.default,
        _annotated(annotation) or described,
        conversion.from_text is truth,
    )


def _annotated(annotation: Any) -> str:
    """Return the description in ``Annotated[int, "how many"]``."""
    extras = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    texts = (getattr(extra, "documentation", extra) for extra in extras)
    return next((text for text in texts if isinstance(text, str)), "")


def _as_written(argument: inspect.Parameter) -> Any:
    """Return the annotation, unless it is a text that cannot be resolved."""
    return argument.empty if isinstance(argument.annotation, str) else argument.annotation


def _hints(function: Callable[..., Any]) -> Mapping[str, Any]:
    """Return the annotations that can be resolved: a name that only a type checker knows hides no other one."""
    made = inspect.unwrap(function)
    names = getattr(made, "__globals__", {})
    found: dict[str, Any] = {}
    for name, annotation in getattr(made, "__annotations__", {}).items():
        alone = SimpleNamespace(__annotations__={name: annotation})
        with contextlib.suppress(Exception):
            found |= get_type_hints(alone, names, include_extras=True)
    return found


def _shown_default(name: str, default: Any, redactor: Redactor) -> Schema:
    """Return the default as JSON has it.

    :raises TypeError: if JSON has no such value.
    """
    text = msgspec.json.encode(default).decode()
    written = default if isinstance(default, str) else text
    is_secret = redactor.mask(f"{name}={written}") != f"{name}={written}" or redactor.mask(text) != text
    return {} if is_secret and default not in (None, "") else {"default": msgspec.json.decode(text)}
