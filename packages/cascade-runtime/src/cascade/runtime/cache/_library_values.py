"""The parts of NumPy, pandas, pydantic and attrs values. No I/O.

Nothing here imports these libraries: a program that has one of their values has imported them.
"""

from __future__ import annotations

import sys
import types
import weakref
from collections.abc import Callable
from typing import Any


class UndigestibleError(TypeError):
    """A value that has no digest; the message says which and why.

    ``variable`` names the captured or global variable that has the value; "" if it is none.
    """

    def __init__(self, problem: str, *, variable: str = "", place: str = "") -> None:
        self.problem = problem
        self.variable = variable
        self.place = place
        """The variable in full, such as ``global variable 'db' of shop.fetch``."""
        super().__init__(f"{place}: {problem}" if place else problem)


def full_name(thing: Any) -> str:
    """Return module and qualified name of a class, function or module."""
    module = getattr(thing, "__module__", None)
    return f"{module}.{getattr(thing, '__qualname__', None) or thing.__name__}"


_slots_of: weakref.WeakKeyDictionary[type, tuple[str, ...]] = weakref.WeakKeyDictionary()


def instance_state(value: object, *, known: type | None = None) -> list[tuple[str, Any]]:
    """Return the attributes in ``__dict__`` and in slots; not the slots of ``known`` and its bases."""
    names = _slots(type(value))
    if known is not None and names:
        names = tuple(name for name in names if not hasattr(known, name))
    slots = [(name, getattr(value, name)) for name in names if hasattr(value, name)]
    return [*getattr(value, "__dict__", {}).items(), *slots]


def is_implemented_in_c(class_: type) -> bool:
    """Return whether a class is none that a ``class`` statement created: it may keep state out of sight."""
    return bool(class_.__flags__ & _IMMUTABLE_TYPE) or not class_.__flags__ & _HEAP_TYPE


def has_call_method(class_: type) -> bool:
    """Return whether the instances of a class can be called."""
    return any("__call__" in vars(base) for base in class_.__mro__)


def _slots(class_: type) -> tuple[str, ...]:
    """Return the names of the slots of a class and its bases, private names mangled."""
    found = _slots_of.get(class_)
    if found is None:
        found = _slots_of[class_] = tuple(
            name
            for base in class_.__mro__
            for name, attribute in vars(base).items()
            if isinstance(attribute, types.MemberDescriptorType)
        )
    return found


_IMMUTABLE_TYPE = 1 << 8
_HEAP_TYPE = 1 << 9


Parts = tuple[Any, ...]


def library_of(class_: type) -> Callable[[Any, type], Parts] | None:
    """Return the function that distinguishes values of a NumPy or pandas class; None for any other class.

    Called with a value and its class, the function returns parts, or raises UndigestibleError.
    """
    if has_call_method(class_):  # a function that is implemented in C
        return None
    roots = (str(base.__module__).partition(".")[0] for base in class_.__mro__)
    return next((_LIBRARIES[root] for root in roots if root in _LIBRARIES), None)


def is_record_class(class_: type) -> bool:
    """Return whether the attributes of an instance are all that it is: an attrs class, a pydantic model."""
    if hasattr(class_, "__attrs_attrs__"):
        return True
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and issubclass(class_, pydantic.BaseModel)


def _numpy(value: Any, class_: type) -> Parts:
    numpy = sys.modules["numpy"]
    if isinstance(value, numpy.dtype):
        return _dtype(value)
    if isinstance(value, numpy.generic):
        return _dtype(value.dtype), _data(value)
    if not isinstance(value, numpy.ndarray) or hasattr(value, "mask"):
        raise UndigestibleError(f"no digest can be computed of a {full_name(class_)}")
    own = class_.__module__.partition(".")[0] == "numpy"
    state = () if own else (instance_state(value, known=numpy.ndarray),)
    return _dtype(value.dtype), value.shape, _memory_order(value), _data(value), *state


def _dtype(dtype: Any) -> Parts:
    """Return the parts of a dtype; ``descr`` does not exist for fields that overlap."""
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return "subarray", _dtype(base), shape
    if dtype.names is not None:
        fields = [(name, _dtype(dtype.fields[name][0]), *dtype.fields[name][1:]) for name in dtype.names]
        return "fields", dtype.itemsize, dtype.alignment, dtype.isalignedstruct, full_name(dtype.type), fields
    missing = getattr(dtype, "na_object", None)
    return dtype.str, full_name(dtype.type), missing, dict(dtype.metadata or {})


def _memory_order(array: Any) -> list[int]:
    """Return the axes from the outermost to the innermost in memory; [] if they are in this order.

    Sums and ``ravel("K")`` depend on it.
    """
    strides = array.strides
    axes = [axis for axis, size in enumerate(array.shape) if size > 1]
    order = sorted(axes, key=lambda axis: -abs(strides[axis]))
    return [] if order == axes else order


def _data(value: Any) -> Any:
    """Return the content of an array or a scalar, without bytes that no field contains."""
    dtype = value.dtype
    if dtype.names is not None:
        return [value[name] for name in dtype.names]
    if dtype.hasobject:  # texts of any length, too
        return value.tolist()
    if dtype.char in "gG":  # a long double has unused bytes
        return [repr(item) for item in value.ravel()]
    return value.tobytes()


def _pandas(value: Any, class_: type) -> Parts:
    pandas = sys.modules["pandas"]
    if value is pandas.NaT or value is pandas.NA:
        return ()
    for kinds, parts in (
        ((pandas.DataFrame,), _frame),
        ((pandas.Series,), _series),
        ((pandas.Index,), _index),
        ((pandas.api.extensions.ExtensionArray,), lambda array: (_column(array),)),
        ((pandas.Timestamp,), _timestamp),
        ((pandas.Timedelta,), lambda value: (value.value, value.unit)),
        ((pandas.Period,), lambda value: (value.ordinal, value.freqstr)),
        ((pandas.Interval,), lambda value: (value.left, value.right, value.closed)),
        ((pandas.CategoricalDtype,), lambda dtype: (dtype.categories, dtype.ordered)),
        ((pandas.api.extensions.ExtensionDtype,), lambda dtype: (str(dtype),)),
    ):
        if isinstance(value, kinds):
            if class_.__module__.partition(".")[0] != "pandas":
                break  # a subclass may keep more
            return parts(value)
    raise UndigestibleError(f"no digest can be computed of a {full_name(class_)}")


def _frame(frame: Any) -> Parts:
    columns = [_column(frame.iloc[:, position].array) for position in range(frame.shape[1])]
    return frame.columns, frame.index, columns, frame.attrs, frame.flags.allows_duplicate_labels


def _series(series: Any) -> Parts:
    allowed = series.flags.allows_duplicate_labels
    return series.name, series.index, _column(series.array), series.attrs, allowed


def _index(index: Any) -> Parts:
    if hasattr(index, "levels"):
        return list(index.names), list(index.levels), [list(codes) for codes in index.codes]
    frequency = getattr(index, "freqstr", None)
    if hasattr(index, "step"):  # it has no data of its own
        return index.name, index.start, index.stop, index.step
    return index.name, _column(index.array), frequency


def _column(array: Any) -> Parts:
    """Return the dtype and the content of one column."""
    dtype = array.dtype
    if hasattr(array, "codes"):
        return "category", array.codes, array.categories, array.ordered
    if hasattr(dtype, "descr"):  # one of NumPy's
        return "numpy", array.to_numpy()
    return str(dtype), getattr(dtype, "tz", None), list(array)


def _timestamp(value: Any) -> Parts:
    return value.value, value.unit, value.fold, value.tz


_LIBRARIES: dict[str, Callable[[Any, type], Parts]] = {
    "numpy": _numpy,
    "pandas": _pandas,
}
