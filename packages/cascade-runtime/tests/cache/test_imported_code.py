"""What of other modules counts in the key of a task: names of what they define, content of what was made there."""

import sys
import textwrap
import types
from typing import Any

import pytest

from cascade.interfaces import UncacheableArgumentError
from cascade.runtime.cache import cache_key
from cascade.spec import task
from cascade.spec.caching import CachePolicy

USER = """
@task
def f(x):
    return helper(x)
"""


def module(name: str, source: str, monkeypatch: pytest.MonkeyPatch, **names: object) -> Any:
    """Import a module with this source."""
    made = types.ModuleType(name)
    vars(made).update(task=task, **names)
    monkeypatch.setitem(sys.modules, name, made)
    exec(textwrap.dedent(source), vars(made))
    return made


def key_with(library: str, monkeypatch: pytest.MonkeyPatch, *, take: str = "helper", user: str = USER) -> str:
    """Return the key of a call of ``shop.f``, which takes a name of the module ``tariffs``."""
    tariffs = module("tariffs", library, monkeypatch)
    shop = module("shop", user, monkeypatch, helper=eval(take, vars(tariffs)))
    return cache_key(CachePolicy(), shop.f._definition, (1,), {})


BY_NAME: dict[str, tuple[str, str]] = {
    "function": ("def helper(x): return x + {}", "helper"),
    "function that reads a variable": ("RATE = {}\ndef helper(x): return x + RATE", "helper"),
    "function that calls another one": ("def g(x): return x + {}\ndef helper(x): return g(x)", "helper"),
    "method of a class": ("class A:\n    @staticmethod\n    def helper(x): return x + {}", "A.helper"),
    "class": ("class helper:\n    rate = {}", "helper"),
    "task": ("@task\ndef helper(x): return x + {}", "helper"),
    "task under another name": ("def g(x): return x + {}\nhelper = task(g)", "helper"),
    "function under a decorator that keeps it": (
        "import functools\ndef g(x): return x + {}\nhelper = functools.wraps(g)(lambda x: g(x))\ninner = g",
        "inner",
    ),
    "function that another one has replaced": ("def helper(x): return x + {}\nearlier = helper\ndef helper(x): return x", "earlier"),
    "task whose name another one has taken": ("@task\ndef helper(x): return x + {}\nearlier = helper\ndef helper(x): return x", "earlier"),
}  # fmt: skip


@pytest.mark.parametrize("name", BY_NAME)
def test_what_another_module_defines_counts_by_its_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its content does not: a new release of a library keeps the values, and ``version=`` is for its changes."""
    library, take = BY_NAME[name]
    keys = {key_with(library.format(text), monkeypatch, take=take) for text in ("1", "2")}
    assert len(keys) == 1


def test_two_names_of_another_module_are_two_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that imports another function, class or task is another task."""
    library = """
    def one(x): return x
    def two(x): return x
    class three: pass
    class four: pass
    @task
    def five(x): return x
    @task
    def six(x): return x
    """
    names = ("one", "two", "three", "four", "five", "six")
    assert len({key_with(library, monkeypatch, take=name) for name in names}) == len(names)


BY_CONTENT: dict[str, tuple[str, str]] = {
    "closure": ("def make(n):\n    def g(x): return x + n\n    return g\nhelper = make({})", "helper"),
    "lambda": ("helper = lambda x: x + {}\nhelper.__module__ = 'tariffs'\nother = helper\ndel helper", "other"),
    "function of a function": ("def make():\n    def g(x): return x + {}\n    return g\nhelper = make()", "helper"),
    "task with fixed arguments": ("@task\ndef g(x, rate): return x\nhelper = g.partial(rate={})", "helper"),
    "task of a closure": ("def make(n):\n    def g(x): return x + n\n    return task(g)\nhelper = make({})", "helper"),
    "task of a lambda": ("helper = task(name='g')(lambda x: x + {})", "helper"),
    "wrapper with the name of another function": (
        """
import functools
def rated(n):
    def decorate(function):
        @functools.wraps(function)
        def wrapper(x): return function(x) + n
        return wrapper
    return decorate
def g(x): return x
helper = rated({})(g)
""",
        "helper",
    ),
    "task of a partial function": ("import functools\nhelper = task(name='g')(functools.partial(pow, {}))", "helper"),
    "function that a decorator has replaced": (
        (
            "LIMITS = [{}]\ndef rated(function):\n    return lambda x: function(x)\n"
            "@rated\ndef helper(x): return x, LIMITS"
        ),
        "helper",
    ),
    "constant": ("helper = ('a', {})", "helper"),
    "partial function": ("import functools\nhelper = functools.partial(pow, {})", "helper"),
}  # fmt: skip


@pytest.mark.parametrize("name", BY_CONTENT)
def test_what_another_module_has_made_counts_with_its_content(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no name by which another process would find it, or not the one that it was defined with."""
    library, take = BY_CONTENT[name]
    keys = [key_with(library.format(text), monkeypatch, take=take) for text in ("1", "1", "2")]
    assert keys[0] == keys[1] != keys[2]


WRAPPED = """
from tariffs import rated
@task
@rated
def f(x):
    return x
"""
DECORATOR = """
import functools
RATE = {rate}
LIMITS = {limits}
def helper(x):
    return x + {helper}
def rated(function):
    @functools.wraps(function)
    def wrapper(x):
        return function(x) * helper(RATE), LIMITS
    return wrapper
"""


@pytest.mark.parametrize(
    ("change", "counts"),
    [({"rate": "2"}, True), ({"helper": "2"}, True), ({"limits": "[1, 2]"}, False)],
    ids=["a constant", "a helper of its module", "a list"],
)
def test_the_wrapper_of_another_module_counts_with_its_constants_and_helpers(
    change: dict[str, str], counts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a part of the task; what its module keeps for itself is not."""
    usual = {"rate": "1", "helper": "1", "limits": "[1]"}
    keys = []
    for settings in (usual, {**usual, **change}):
        module("tariffs", DECORATOR.format(**settings), monkeypatch)
        shop = module("shop", WRAPPED, monkeypatch)
        keys.append(cache_key(CachePolicy(), shop.f._definition, (1,), {}))
    assert (keys[0] != keys[1]) is counts


def test_a_function_of_the_task_that_another_module_calls_counts_with_its_content(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A wrapper of another module may get it from anywhere: it is edited with the task."""
    wrapper = """
    import functools
    def rated(function):
        @functools.wraps(function)
        def wrapper(x):
            return hook(function(x))
        return wrapper
    """
    keys = []
    for number in (1, 2):
        tariffs = module("tariffs", wrapper, monkeypatch)
        hook = f"import tariffs\ndef hook(x): return x + {number}\ntariffs.hook = hook\n"
        shop = module("shop", hook + WRAPPED, monkeypatch)
        assert tariffs.hook(1) == 1 + number
        keys.append(cache_key(CachePolicy(), shop.f._definition, (1,), {}))
    assert keys[0] != keys[1]


def test_an_object_of_another_module_is_refused_and_one_with_a_name_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An object that can be called may hold anything; one that its module has under its own name counts by that."""
    library = """
    class Scale:
        def __call__(self, x): return x
    plain = Scale()
    known = Scale()
    known.__module__, known.__qualname__ = "tariffs", "known"
    """
    with pytest.raises(
        UncacheableArgumentError, match=r"global variable 'helper' of shop\.f: .*tariffs\.Scale"
    ):
        key_with(library, monkeypatch, take="plain")
    assert key_with(library, monkeypatch, take="known") == key_with(library, monkeypatch, take="known")
    own = library.replace("tariffs", "shop").replace("known", "helper")
    with pytest.raises(UncacheableArgumentError, match=r"global variable 'helper' of shop\.f"):
        key_with("helper = 1", monkeypatch, user=f"{textwrap.dedent(own)}\n{USER}")


TAKING = """
@task
def f(x):
    return x
"""


def test_a_function_of_another_module_may_have_a_default_without_a_digest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As an argument or in a container: its name is enough; of a function without a name it might be another one."""
    library = """
    import io
    def known(x, out=io.StringIO()): return x
    nameless = [lambda x, out=io.StringIO(): x]
    def make(out):
        return lambda x: (x, out)
    capturing = make(io.StringIO())
    """
    tariffs = module("tariffs", library, monkeypatch)
    shop = module("shop", TAKING, monkeypatch)

    def key(value: object) -> str:
        return cache_key(CachePolicy(), shop.f._definition, (value,), {})

    assert key(tariffs.known) == key(tariffs.known) != key([tariffs.known])
    for value in (tariffs.nameless[0], tariffs.nameless, tariffs.capturing):
        with pytest.raises(UncacheableArgumentError, match=r"argument 'x'|'out' of tariffs\."):
            key(value)
